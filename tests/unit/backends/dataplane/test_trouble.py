"""A Data Plane API in trouble is no route's fault, unless it is in trouble with one route alone."""

from __future__ import annotations

import pytest

from frontserver.backends.dataplane.book import Book
from frontserver.backends.dataplane.performer import Performer
from frontserver.dataplane.errors import TroubleError
from frontserver.model.routes import RouteKey, RouteKind
from frontserver.planning.actions import DropEntry
from frontserver.planning.compiled import HOSTS
from frontserver.planning.plan import RouteSteps
from tests.unit.dataplane.answering import Api, refused

PANIC = refused(500, "runtime error: invalid memory address")
ENTRIES = "DELETE /runtime/maps/fs-hosts.map/entries"


def removal(name: str) -> RouteSteps:
    key = RouteKey(RouteKind.HTTP, name)
    return RouteSteps(key, (DropEntry(HOSTS, f"{name}.example.com"),), None, None)


async def test_all_that_was_asked_in_vain_is_the_apis_own_trouble() -> None:
    api = Api()
    for name in ("one", "two"):
        api.says(f"{ENTRIES}/{name}.example.com", PANIC)
    performer = Performer(api.client(), Book())

    with pytest.raises(TroubleError, match="invalid memory address"):
        await performer.take([removal("one"), removal("two")])


async def test_what_fails_beside_others_fails_alone() -> None:
    """Else one route could keep all others waiting."""
    api = Api()
    api.says(f"{ENTRIES}/bad.example.com", PANIC)
    api.says(f"{ENTRIES}/good.example.com", (204, ""))
    performer = Performer(api.client(), Book())

    failed = await performer.take([removal("bad"), removal("good")])

    assert failed == {RouteKey(RouteKind.HTTP, "bad"): "runtime error: invalid memory address"}


async def test_a_refusal_by_haproxy_is_the_routes_own() -> None:
    api = Api()
    api.says(f"{ENTRIES}/bad.example.com", refused(500, "/m.sock [3]  unable to parse the key"))
    performer = Performer(api.client(), Book())

    failed = await performer.take([removal("bad")])

    assert list(failed) == [RouteKey(RouteKind.HTTP, "bad")]
