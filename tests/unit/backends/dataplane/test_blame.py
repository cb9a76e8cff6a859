"""A route is to blame for the API's trouble only if that goes on, with this route, for a while."""

from __future__ import annotations

import pytest

from frontserver.backends.dataplane.blame import Blame
from frontserver.model.routes import RouteKey, RouteKind

A, B = RouteKey(RouteKind.HTTP, "a"), RouteKey(RouteKind.HTTP, "b")


@pytest.mark.parametrize(
    ("rounds", "falls"),
    [
        ([(0, [A]), (5, [A]), (10, [A])], True),
        ([(0, [A]), (1, [A]), (2, [A]), (3, [A])], False),
        ([(0, [A]), (30, [A])], False),
        ([(0, [A]), (100, [A]), (105, [A]), (109, [A])], False),
        ([(0, [A]), (5, [B]), (10, [A])], False),
        ([(0, [A]), (5, [A, B]), (10, [A, B])], True),
    ],
    ids=[
        "rounds and seconds enough",
        "too soon",
        "too few rounds",
        "a long time between",
        "a round without it",
        "others beside it",
    ],
)
def test_when_it_falls_on_routes(rounds: list[tuple[float, list[RouteKey]]], falls: bool) -> None:
    now = 0.0
    blame = Blame(lambda: now)
    for now, keys in rounds:  # noqa: B007
        found = blame.falls_on(keys)
    assert found is falls
