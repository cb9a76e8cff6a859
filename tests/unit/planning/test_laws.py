"""Laws of the pure core, over generated sets of routes."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontserver.backends.memory import MemoryBackend
from frontserver.backends.port import State
from frontserver.model.routes import Route
from frontserver.planning.compiled import CompiledConfig
from frontserver.planning.delta import Delta, delta
from frontserver.planning.diff import diff
from frontserver.planning.layout import Layout, PoolPolicy
from frontserver.planning.plan import lay_out, plan
from frontserver.planning.running import Running, adopt, materialise
from tests.unit.planning.routes import FRONTENDS, POLICY, ROUTE_SETS, SCARCE, compiled, config

POLICIES = st.sampled_from([POLICY, SCARCE])


def loaded(routes: list[Route], policy: PoolPolicy) -> State:
    """What a first start with these routes loads."""
    target = config(*routes)
    changes = diff(CompiledConfig(FRONTENDS), target)
    planned = plan(changes, Layout())
    return State(target, lay_out(planned.layout, planned.deferred, policy))


def carried_out(state: State, target: CompiledConfig, policy: PoolPolicy) -> tuple[Running, State]:
    """The running HAProxy after a plan was applied to one that runs `state`."""

    async def run() -> tuple[Running, State]:
        backend = MemoryBackend()
        await backend.start(state)
        planned = plan(diff(state.config, target), state.layout)
        assert await backend.apply(planned.steps) == {}
        after = State(target, planned.layout)
        for step in planned.steps:
            await backend.perform(step.afterwards)
        if planned.reasons:
            after = State(target, lay_out(planned.layout, planned.deferred, policy))
            await backend.reload(after, planned.reasons)
        return await backend.observe(), after

    return asyncio.run(run())


@given(ROUTE_SETS)
def test_nothing_differs_from_itself(routes: list[Route]) -> None:
    assert not diff(config(*routes), config(*routes))


@given(ROUTE_SETS)
def test_compiling_is_deterministic(routes: list[Route]) -> None:
    assert compiled(*routes) == compiled(*reversed(routes))


@settings(max_examples=60)
@given(ROUTE_SETS, ROUTE_SETS, POLICIES)
def test_a_plan_converges(before: list[Route], after: list[Route], policy: PoolPolicy) -> None:
    running, state = carried_out(loaded(before, policy), config(*after), policy)

    wanted = materialise(state.config, state.layout)
    assert running.maps == wanted.maps
    assert running.servers == wanted.servers


@settings(max_examples=60)
@given(ROUTE_SETS, ROUTE_SETS, POLICIES)
def test_no_two_routes_share_a_backend(
    before: list[Route], after: list[Route], policy: PoolPolicy
) -> None:
    _, state = carried_out(loaded(before, policy), config(*after), policy)

    slots = list(state.layout.slots.values())
    assert len(set(slots)) == len(slots)
    assert set(state.layout.slots) == set(state.config.routes)


@settings(max_examples=60)
@given(ROUTE_SETS, POLICIES)
def test_what_was_loaded_is_recognised(routes: list[Route], policy: PoolPolicy) -> None:
    state = loaded(routes, policy)

    found = adopt(state.config, materialise(state.config, state.layout))

    assert not diff(found.config, state.config)
    assert found.strays == ()
    assert found.layout.slots == state.layout.slots


@settings(max_examples=60)
@given(ROUTE_SETS, ROUTE_SETS, POLICIES)
def test_whatever_runs_is_led_to_what_is_wanted(
    running: list[Route], wanted: list[Route], policy: PoolPolicy
) -> None:
    """Adopting foreign state, clearing strays and applying the difference converges."""
    start = loaded(running, policy)
    target = config(*wanted)

    async def run() -> Running:
        backend = MemoryBackend()
        await backend.start(start)
        found = adopt(target, await backend.observe())
        await backend.perform(found.strays)
        planned = plan(diff(found.config, target), found.layout)
        await backend.apply(planned.steps)
        for step in planned.steps:
            await backend.perform(step.afterwards)
        if planned.reasons:
            layout = lay_out(planned.layout, planned.deferred, policy)
            await backend.reload(State(target, layout), planned.reasons)
        return await backend.observe()

    found = adopt(target, asyncio.run(run()))
    assert not diff(found.config, target)
    assert found.strays == ()


@settings(max_examples=60)
@given(ROUTE_SETS, ROUTE_SETS, POLICIES)
def test_a_delta_leads_from_what_is_written_to_what_is_to_be_written(
    before: list[Route], after: list[Route], policy: PoolPolicy
) -> None:
    old = loaded(before, policy)
    _, new = carried_out(old, config(*after), policy)
    keys = old.config.routes.keys() | new.config.routes.keys()

    found = delta((old.config, old.layout), (new.config, new.layout), list(keys))

    maps = {n: dict(c) for n, c in materialise(old.config, old.layout).maps.items()}
    for name, content in found.maps.items():
        for key, value in content.items():
            maps[name].pop(key, None)
            if value is not None:
                maps[name][key] = value
    assert maps == materialise(new.config, new.layout).maps
    seats = {backend: old.config.routes[key] for key, backend in old.layout.slots.items()}
    seats = {b: r for b, r in (seats | found.seats).items() if r is not None}
    assert seats == {b: new.config.routes[key] for key, b in new.layout.slots.items()}


@given(ROUTE_SETS)
def test_nothing_is_to_be_written_where_nothing_differs(routes: list[Route]) -> None:
    state = loaded(routes, POLICY)
    pair = state.config, state.layout
    assert delta(pair, pair, list(state.config.routes)) == Delta({}, {}, ())


@settings(max_examples=60)
@given(ROUTE_SETS, ROUTE_SETS)
def test_pools_that_grow_need_no_reload_and_end_as_if_loaded(
    before: list[Route], after: list[Route]
) -> None:
    start = loaded(before, SCARCE)
    target = config(*after)
    growing = frozenset(start.layout.pools)
    planned = plan(diff(start.config, target), start.layout, growing)
    assert all(
        change.new is not None and change.new.profile.id not in growing
        for change in planned.deferred
    )

    async def run() -> Running:
        backend = MemoryBackend()
        await backend.start(start)
        assert await backend.apply(planned.steps) == {}
        return await backend.observe()

    running = asyncio.run(run())
    reached = start.config.with_routes({step.key: step.new for step in planned.steps})
    found = adopt(reached, running, planned.layout)
    assert not diff(found.config, reached)
    assert found.layout.slots == planned.layout.slots
    again = lay_out(planned.layout, planned.deferred, SCARCE)
    assert all(not pool.extra for pool in again.pools.values())
    assert set(again.slots) == set(target.routes)
    assert len(set(again.slots.values())) == len(again.slots)
    assert {k: s for k, s in again.slots.items() if k in planned.layout.slots} == dict(
        planned.layout.slots
    )


@given(ROUTE_SETS)
def test_the_same_plan_again_does_nothing(routes: list[Route]) -> None:
    state = loaded(routes, POLICY)

    planned = plan(diff(state.config, state.config), state.layout)

    assert (planned.steps, planned.reasons) == ((), ())


@pytest.mark.parametrize("spare", [0, 1, 64])
@given(routes=ROUTE_SETS)
def test_a_reload_leaves_room_for_everybody(spare: int, routes: list[Route]) -> None:
    policy = msgspec.structs.replace(POLICY, spare=spare)

    layout = loaded(routes, policy).layout

    for pool in layout.pools.values():
        assert 0 <= pool.used <= pool.size
        assert pool.spare >= policy.wanted(pool.profile, pool.used) - pool.used
