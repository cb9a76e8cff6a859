"""The Data Plane API backend: everything goes through that API, nothing to HAProxy's sockets.

Belongs here: runtime calls first, one write of the configuration soon after, forced reloads, and
looking at what came of it. Doesn't: HTTP (`dataplane`), text (`rendering`).
"""
