"""Compiled configuration → the text of HAProxy's files, by Jinja templates.

Belongs here: templates, the walls around them, and what must hold of their output. Doesn't:
writing files (that is a backend's), deciding what to render (that is planning's).
"""
