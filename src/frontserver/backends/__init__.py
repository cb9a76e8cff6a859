"""How HAProxy is driven: one port, several implementations, one contract suite over all.

Belongs here: carrying out plans and observing what runs. Doesn't: deciding what should run.
"""
