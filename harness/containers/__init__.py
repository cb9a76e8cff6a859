"""The stack's parts in containers, by testcontainers.

`HARNESS_IMAGES` says where images come from: `registry`, the default, pulls the official ones;
`local` builds all of them from Debian packages and Python wheels, where no registry is.
"""
