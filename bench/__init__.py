"""Benchmarks: how fast a new route is live, and what it costs, beside other proxies.

    python -m bench live --sizes 0,1000 --peers ours:2.8,caddy --seconds 5
    python -m bench report

Belongs here: the systems that are compared (`bench/systems/`), one module a series of
measurements, and the report. Doesn't: tests of the product; nor anything that the product needs.

In the series that compare, all systems run at the same time and are measured in turns, a few
seconds each, so that what the machine does meanwhile hits all of them alike. The product is driven
by its commands and its API. Two modules know more of it: `bench/preload.py`, which fills its
database, and `bench/traced.py`, which times its steps from outside.
"""
