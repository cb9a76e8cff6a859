"""Routes on the wire: what agents ask for, what they are answered, and what it means.

Belongs here: the JSON shapes of routes, and the translation of requests into `model`. Doesn't:
shapes about agents and certificates, which stand beside this package.
"""
