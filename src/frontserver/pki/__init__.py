"""The installation's own certificate authority, its leaves, and keys sealed at rest.

Belongs here: making, reading and checking certificates and keys; the clock is passed in.
Doesn't: where they are stored, who may have them, HTTP.
"""
