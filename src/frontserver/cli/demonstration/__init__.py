"""The parts of `frontserver demo`: a demo app, a demo database, and the story that joins them.

Belongs here: what only the demo needs. Doesn't: anything that `serve` or an agent needs.
"""
