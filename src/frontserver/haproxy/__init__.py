"""One HAProxy: its runtime socket, its master socket, its process, its binary.

Belongs here: talking to HAProxy and keeping it running, reading its answers exactly, and trying on
a throwaway one what may end it.
Doesn't: what to tell it (`planning`), its configuration's text (`rendering`), routes of any kind.
"""
