"""The file backend: whole configurations on disk, runtime commands for everything that can be.

Belongs here: generations of files, keeping the current one in step with what was done at run
time, turning actions into commands. Doesn't: sockets and processes (`haproxy`), text
(`rendering`).
"""
