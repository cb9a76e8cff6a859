"""The cost of one change doesn't grow with the number of routes: counted, not timed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest
from immutables import Map

from frontserver.model.routes import RouteKey
from frontserver.planning.compile import HTTP_PROFILE, compile_route
from frontserver.planning.compiled import CompiledConfig, CompiledRoute
from frontserver.planning.diff import diff
from frontserver.planning.layout import Layout, PoolPolicy
from frontserver.planning.plan import plan
from tests.unit.planning.routes import FRONTENDS, compiled, http

Routes = Map[RouteKey, CompiledRoute]


class Counting(Mapping[RouteKey, CompiledRoute]):
    """A persistent map that counts every key it hands out or is asked for."""

    def __init__(self, content: Routes, touched: list[RouteKey]) -> None:
        self._content = content
        self._touched = touched

    def __getitem__(self, key: RouteKey) -> CompiledRoute:
        self._touched.append(key)
        return self._content[key]

    def __contains__(self, key: object) -> bool:
        assert isinstance(key, RouteKey)
        self._touched.append(key)
        return key in self._content

    def __iter__(self) -> Iterator[RouteKey]:
        for key in self._content:
            self._touched.append(key)
            yield key

    def __len__(self) -> int:
        return len(self._content)

    def mutate(self) -> _Mutation:
        return _Mutation(self._content, self._touched)


class _Mutation:
    def __init__(self, content: Routes, touched: list[RouteKey]) -> None:
        self._mutation = content.mutate()
        self._touched = touched

    def __contains__(self, key: RouteKey) -> bool:
        self._touched.append(key)
        return key in self._mutation

    def __setitem__(self, key: RouteKey, value: CompiledRoute) -> None:
        self._touched.append(key)
        self._mutation[key] = value

    def __delitem__(self, key: RouteKey) -> None:
        self._touched.append(key)
        del self._mutation[key]

    def finish(self) -> Routes:
        return self._mutation.finish()


def counted(config: CompiledConfig) -> tuple[CompiledConfig, list[RouteKey]]:
    touched: list[RouteKey] = []
    routes: Any = Counting(config.routes, touched)
    return msgspec.structs.replace(config, routes=routes), touched


def many(count: int) -> tuple[CompiledConfig, Layout]:
    routes = {http(f"r{n}").key: compile_route(http(f"r{n}"), {}) for n in range(count)}
    layout = Layout().reloaded({}, PoolPolicy((HTTP_PROFILE,), spare=count + 8))
    for key in routes:
        layout = layout.place(key, HTTP_PROFILE)
    return CompiledConfig(FRONTENDS).with_routes(dict(routes)), layout


CHANGES: dict[str, dict[RouteKey, CompiledRoute | None]] = {
    "one more": compiled(http("new")),
    "one changed": compiled(http("r3", "http://10.0.0.2:1")),
    "one less": {http("r3").key: None},
    "none there to remove": {http("absent").key: None},
    "three at once": {
        **compiled(http("new"), http("r3", "http://10.0.0.2:1")),
        http("r4").key: None,
    },
}


@pytest.mark.parametrize("change", CHANGES, ids=str)
@pytest.mark.parametrize("count", [10, 1000])
def test_only_what_changed_is_touched(count: int, change: str) -> None:
    config, layout = many(count)
    changed = CHANGES[change]
    old, touched_old = counted(config)
    new, touched_new = counted(config.with_routes(changed))

    planned = plan(diff(old, new, changed), layout)

    assert set(touched_old) | set(touched_new) == set(changed)
    assert len(touched_old) == len(touched_new) == len(changed)
    assert {step.key for step in planned.steps} <= set(changed)
    assert planned.reasons == ()


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_putting_routes_touches_only_those(change: str) -> None:
    config, _ = many(1000)
    base, touched = counted(config)
    after = base.with_routes(CHANGES[change])
    assert set(touched) == set(CHANGES[change])
    assert len(after.routes) == len(config.with_routes(CHANGES[change]).routes)


def test_the_layout_of_others_is_shared() -> None:
    config, layout = many(1000)
    new = config.with_routes(compiled(http("new")))
    planned = plan(diff(config, new, [http("new").key]), layout)
    assert {key for key in planned.layout.slots if key not in layout.slots} == {http("new").key}
    assert all(planned.layout.slots[key] is layout.slots[key] for key in layout.slots)


def test_without_keys_every_route_is_compared() -> None:
    """The counter can count: this is what must not happen for one change."""
    config, _ = many(50)
    old, touched = counted(config)
    assert not diff(old, config)
    assert len(set(touched)) == 50


def test_keys_may_name_what_didnt_change() -> None:
    config, _ = many(5)
    assert not diff(config, config, [http("r1").key, http("none").key])
