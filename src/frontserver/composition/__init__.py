"""Settings become objects: one module a part of the front server, which `app` puts together.

Belongs here: which implementation a port gets, and with what. Doesn't: anything that decides,
serves or runs; that lives below, and takes plain values. Only `app` and `cli` import this package.
"""
