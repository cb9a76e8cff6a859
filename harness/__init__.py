"""The native harness: the product on real parts, as child processes on free loopback ports.

Belongs here: starting and stopping the front server, HAProxy, mongod, agents and demo origins;
names that resolve; traffic that watches itself; evidence for whoever reads a failure.
Doesn't: assertions about the product (`tests/e2e`), nor an import of `frontserver`: the product
is driven by its commands and its API, as anybody else would.
"""
