"""A Data Plane API in trouble is no route's fault, unless it is in trouble with one route alone."""

from __future__ import annotations

import pytest

from frontserver.backends.dataplane import blame
from frontserver.backends.dataplane.book import Book
from frontserver.backends.dataplane.performer import Performer
from frontserver.dataplane.errors import TroubleError
from frontserver.errors import ProxyUnavailableError
from frontserver.model.routes import RouteKey, RouteKind
from frontserver.planning.actions import DropEntry
from frontserver.planning.compiled import HOSTS
from frontserver.planning.plan import RouteSteps
from tests.unit.dataplane.answering import DOWN, Api, refused

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


async def test_trouble_that_goes_on_with_the_same_routes_is_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else they would be tried for ever, and nothing would be in step."""
    monkeypatch.setattr(blame, "_SECONDS", 0.0)
    api = Api()
    api.says(f"{ENTRIES}/bad.example.com", PANIC)
    performer = Performer(api.client(), Book())
    for _ in range(2):
        with pytest.raises(TroubleError):
            await performer.take([removal("bad")])

    assert list(await performer.take([removal("bad")])) == [RouteKey(RouteKind.HTTP, "bad")]


async def test_unless_the_api_does_not_reach_haproxy_by_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blame, "_ROUNDS", 1)
    monkeypatch.setattr(blame, "_SECONDS", 0.0)
    api = Api()
    api.says(f"{ENTRIES}/bad.example.com", PANIC)
    api.says("GET /runtime/info", DOWN)

    with pytest.raises(ProxyUnavailableError):
        await Performer(api.client(), Book()).take([removal("bad")])


async def test_a_refusal_by_haproxy_is_the_routes_own() -> None:
    api = Api()
    api.says(f"{ENTRIES}/bad.example.com", refused(500, "/m.sock [3]  unable to parse the key"))
    performer = Performer(api.client(), Book())

    failed = await performer.take([removal("bad")])

    assert list(failed) == [RouteKey(RouteKind.HTTP, "bad")]
