"""Keeps one HAProxy in step with the stored state: the only writer of its HAProxy.

Belongs here: when to look, what to do first, how to go on after a failure. Doesn't: how HAProxy
is spoken to (`backends`), what should run (`planning`), HTTP.
"""
