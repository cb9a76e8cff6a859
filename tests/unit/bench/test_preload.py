"""Routes that are copied in the database are routes like any other."""

from __future__ import annotations

import pytest

from bench import haproxies
from bench.fleet import Fleet
from bench.systems.base import unserved
from bench.systems.ours import Ours


@pytest.mark.slow
def test_routes_that_were_copied_are_served_and_can_be_removed() -> None:
    if not haproxies.programs():
        pytest.skip("no HAProxy here: pip install 'frontserver[embedded]'")
    with Fleet(["ours"], preload="rows") as fleet:
        routes = [route for route in fleet.routes(40) if route.profile in {0, 1}]
        (system,) = fleet.systems
        assert isinstance(system, Ours)

        system.load(routes)

        assert unserved(system.port, routes) == []
        system.prepare(routes[-1:])
        system.remove(routes[-1:])
        assert unserved(system.port, routes) == routes[-1:]
