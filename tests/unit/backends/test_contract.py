"""What every backend does alike; the reconciler relies on nothing else.

What a backend says that it can't do at run time (`limits`) is done by a reload; what it holds as a
whole (`growing`: backends made at run time) has tests beside that backend.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from hypothesis import HealthCheck as Quiet
from hypothesis import given, settings

from frontserver.backends.memory import MemoryBackend
from frontserver.backends.port import Backend, State
from frontserver.model.names import DomainName, PathPrefix, Subdomain
from frontserver.model.routes import (
    CookieName,
    HeaderEdits,
    HeaderName,
    HeaderValue,
    HealthCheck,
    HttpRoute,
    Route,
    Target,
    Timeouts,
)
from frontserver.model.targets import TargetUrl
from frontserver.planning.actions import CutServer, DropEntry, PutEntry, PutServer, SetServer
from frontserver.planning.compiled import (
    HOSTS,
    VALUES,
    CompiledConfig,
    Frontends,
    Server,
)
from frontserver.planning.diff import diff
from frontserver.planning.layout import HANDFUL, Layout
from frontserver.planning.limits import RuntimeLimits
from frontserver.planning.plan import Plan, ReloadReason, lay_out, plan
from frontserver.planning.running import Running, adopt, materialise
from tests.unit.planning.routes import POLICY, ROUTE_SETS, compiled, http, mongo

REASON = (ReloadReason.NEW_PROFILE,)


def rich(name: str = "rich", value: str = "a; b\\c 'd' \"e\" #f") -> Route:
    """A route with something in every map, and hard characters in a value."""
    edits = HeaderEdits(
        set=((HeaderName("x-a"), HeaderValue(value)),), remove=(HeaderName("server"),)
    )
    return http(
        name,
        "http://10.0.0.1:3000",
        "http://[2001:db8::1]:3000",
        use_tls=False,
        check=HealthCheck(path="/healthz?a=1%20b"),
        sticky=CookieName("SID"),
        timeouts=Timeouts(server_ms=700, tunnel_ms=800, connect_ms=90, queue_ms=80),
        request_headers=edits,
        response_headers=edits,
        max_connections=7,
        host_header=DomainName("origin.example.com"),
    )


class Driver:
    """Takes a backend from state to state, as the reconciler does."""

    def __init__(self, backend: Backend, frontends: Frontends) -> None:
        self.backend = backend
        self.state = State(CompiledConfig(frontends), Layout().reloaded({}, POLICY))

    async def start(self) -> None:
        await self.backend.start(self.state)

    async def to(self, *routes: Route) -> Plan:
        target = CompiledConfig(self.state.config.frontends).with_routes(compiled(*routes))
        planned = self.plan(target)
        assert await self.backend.apply(planned.steps) == {}
        reached = self.state.config.with_routes({step.key: step.new for step in planned.steps})
        self.state = State(reached, planned.layout)
        await self.backend.persist(self.state, planned.steps)
        for step in planned.steps:
            await self.backend.perform(step.afterwards)
        if planned.reasons:
            self.state = State(target, lay_out(planned.layout, planned.deferred, POLICY))
            differing = [change.key for change in planned.deferred]
            await self.backend.reload(self.state, planned.reasons, changed=differing)
        return planned

    def plan(self, target: CompiledConfig) -> Plan:
        changes = diff(self.state.config, target)
        return plan(changes, self.state.layout, limits=self.backend.limits)

    def reasons(self, *, limited: bool) -> tuple[ReloadReason, ...]:
        """Why a change is to be reloaded that needs none but where the backend is limited so."""
        return (ReloadReason.RUNTIME_LIMITS,) if limited else ()

    async def soon(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Wait until that is so; the backend does it by itself."""
        async with asyncio.timeout(10):
            while not await condition():
                await asyncio.sleep(0.05)

    async def seen(self) -> Running:
        return await self.backend.observe()

    async def assert_in_step(self) -> None:
        running = await self.seen()
        wanted = materialise(self.state.config, self.state.layout)
        assert running.maps == wanted.maps
        assert {b: set(s) for b, s in running.servers.items()} == {
            b: set(s) for b, s in wanted.servers.items()
        }
        assert running.pools == wanted.pools
        assert running.frontends == wanted.frontends
        found = adopt(self.state.config, running, self.state.layout)
        assert not diff(found.config, self.state.config)


@pytest.fixture
async def driver(backend: Backend, frontends: Frontends) -> Driver:
    made = Driver(backend, frontends)
    await made.start()
    if (await made.seen()).frontends is None:
        # Somebody else started HAProxy, with another configuration.
        await backend.reload(made.state, (ReloadReason.FRONTENDS,))
    return made


async def test_a_first_start_loads_empty_pools(driver: Driver) -> None:
    await driver.assert_in_step()


async def test_routes_are_added_changed_and_removed_at_run_time(driver: Driver) -> None:
    for routes in (
        [http(), mongo()],
        [http("shop", "http://10.0.0.2:3000"), mongo()],
        [http("shop", "http://10.0.0.2:3000", "http://10.0.0.3:1"), mongo("a2", "10.0.0.5")],
        [http(use_tls=False), http("other", timeouts=Timeouts(server_ms=500))],
        [],
    ):
        planned = await driver.to(*routes)
        assert planned.reasons == ()
        await driver.assert_in_step()


async def test_a_reload_brings_in_a_new_profile_and_keeps_the_rest(driver: Driver) -> None:
    await driver.to(http())

    planned = await driver.to(http(), rich())

    assert planned.reasons == REASON
    await driver.assert_in_step()


async def test_values_with_hard_characters_survive_changes(driver: Driver) -> None:
    await driver.to(rich())
    for value in (
        "x",
        "a \\; b",
        "%[src] \"q\" 'r'",
        "-",
        "#no comment",
        "\\",
        "a, key, b",
        "a,value ,b",
    ):
        planned = await driver.to(rich(value=value))
        unsayable = driver.backend.limits.unsayable
        limited = unsayable is not None and unsayable.search(value) is not None
        assert planned.reasons == driver.reasons(limited=limited)
        await driver.assert_in_step()


async def test_moving_to_another_loaded_profile_needs_no_reload(driver: Driver) -> None:
    await driver.to(http(), rich())

    planned = await driver.to(http(check=HealthCheck()), rich())

    assert planned.reasons == ()
    await driver.assert_in_step()


def spread(*weights: int | None) -> HttpRoute:
    """A sticky route whose first targets have these weights, `None` for one that drains."""
    targets = tuple(
        Target(TargetUrl.parse(f"http://10.0.0.{n}:80"), weight=weight or 100, drain=weight is None)
        for n, weight in enumerate(weights, start=1)
    )
    return msgspec.structs.replace(http(sticky=CookieName("SID")), targets=targets)


async def test_weights_change_in_place(driver: Driver) -> None:
    """Drained and back, with the same servers all the time, and nothing added or retired."""
    await driver.to(spread(100, 100))
    slot = driver.state.layout.slots[http().key]
    names = set((await driver.seen()).servers[slot])
    for weights in ((100, None), (7, None), (256, 1), (None, None), (100, 100)):
        planned = await driver.to(spread(*weights))

        assert planned.reasons == ()
        assert {type(action) for step in planned.steps for action in step.actions} == {SetServer}
        servers = (await driver.seen()).servers[slot]
        assert set(servers) == names
        found = {server.address: server.weight for server in servers.values()}
        assert found == {f"10.0.0.{n}": weight or 0 for n, weight in enumerate(weights, start=1)}
        await driver.assert_in_step()


async def test_a_drained_server_is_drained_after_a_reload(driver: Driver) -> None:
    await driver.to(spread(100, 100))
    await driver.to(spread(100, None))
    state = State(driver.state.config, lay_out(driver.state.layout, (), POLICY))

    await driver.backend.reload(state, (ReloadReason.POOL_REFILL,))

    driver.state = state
    await driver.assert_in_step()


async def test_a_weight_that_somebody_changed_by_hand_is_corrected(driver: Driver) -> None:
    await driver.to(spread(100, 50))
    slot = driver.state.layout.slots[http().key]
    route = driver.state.config.routes[http().key]
    by_hand = msgspec.structs.replace(route.servers[0], weight=3)

    async def is_set() -> bool:
        return (await driver.seen()).servers[slot][by_hand.name].weight == by_hand.weight

    await driver.backend.perform([SetServer(slot, by_hand)])
    # A weight may have to wait for the next write.
    await driver.soon(is_set)
    found = adopt(driver.state.config, await driver.seen(), driver.state.layout)
    mending = plan(diff(found.config, driver.state.config), found.layout)

    assert mending.steps
    assert await driver.backend.apply(mending.steps) == {}
    await driver.backend.persist(driver.state, mending.steps)
    await driver.assert_in_step()


async def test_paths_come_and_go_below_a_domain(driver: Driver) -> None:
    api, version, loud = (
        http("shop", path=PathPrefix(path)) for path in ("/api", "/api/v2", "/API")
    )
    for routes in ([http(), api, version], [version], [version, loud], []):
        planned = await driver.to(*routes)
        assert planned.reasons == ()
        await driver.assert_in_step()


async def test_what_was_persisted_comes_back_after_a_reload_of_everything(driver: Driver) -> None:
    await driver.to(http(), mongo(), rich())
    await driver.to(http("shop", "http://10.0.0.9:99"), mongo())
    state = State(driver.state.config, lay_out(driver.state.layout, (), POLICY))

    await driver.backend.reload(state, (ReloadReason.POOL_REFILL,))

    driver.state = state
    await driver.assert_in_step()


async def test_putting_twice_and_dropping_what_is_not_there_is_harmless(driver: Driver) -> None:
    await driver.to(http())
    slot = driver.state.layout.slots[http().key]
    server = Server("10.0.0.1", 3000)
    running = await driver.seen()

    await driver.backend.perform(
        [
            PutServer(slot, server),
            PutEntry(HOSTS, "shop.apps.example.com", slot),
            DropEntry(VALUES, "nowhere/at-all"),
            CutServer(slot, "tnobody"),
        ]
    )

    assert await driver.seen() == running


async def test_a_step_that_is_refused_leaves_everything_as_it_was(
    driver: Driver, kind: str
) -> None:
    await driver.to(http())
    before = await driver.seen()
    bad = compiled(http("bad"))[http("bad").key]
    assert bad is not None
    broken = msgspec.structs.replace(bad, servers=(*bad.servers, Server("not-an-address", 1)))
    if isinstance(driver.backend, MemoryBackend):
        driver.backend.refuses = lambda thing: (
            "no" if isinstance(thing, PutServer) and thing.server.address[0] == "n" else None
        )
    target = driver.state.config.with_routes({broken.key: broken})
    planned = driver.plan(target)

    failed = await driver.backend.apply(planned.steps)

    assert list(failed) == [broken.key]
    assert failed[broken.key]
    assert await driver.seen() == before


async def test_a_weight_is_put_back_when_a_step_is_refused(driver: Driver) -> None:
    await driver.to(spread(100, 100))
    before = await driver.seen()
    after = compiled(spread(100, None))[http().key]
    assert after is not None
    # No map can hold this key.
    broken = msgspec.structs.replace(after, routing=((HOSTS, "two words"),))
    if isinstance(driver.backend, MemoryBackend):
        driver.backend.refuses = lambda thing: "no" if isinstance(thing, PutEntry) else None
    target = driver.state.config.with_routes({broken.key: broken})
    planned = driver.plan(target)
    assert any(isinstance(action, SetServer) for action in planned.steps[0].actions)

    assert list(await driver.backend.apply(planned.steps)) == [broken.key]

    assert await driver.seen() == before


async def test_an_emptied_slot_is_idle_soon(driver: Driver) -> None:
    await driver.to(http())
    slot = driver.state.layout.slots[http().key]
    assert await driver.backend.idle([slot]) == frozenset()

    await driver.to()

    async def is_idle() -> bool:
        return await driver.backend.idle([slot]) == {slot}

    await driver.soon(is_idle)


LIMITED: list[tuple[Route, Callable[[RuntimeLimits], bool]]] = [
    (http(sticky=CookieName("SID")), lambda limits: not limits.cookies),
    (http(check=HealthCheck(interval_ms=700)), lambda limits: not limits.checks),
    (
        http("shop", "http://10.0.0.1:3000", "http://10.0.0.2:3000", check=HealthCheck()),
        lambda limits: not limits.checks,
    ),
    (http("shop", "http://10.0.0.2:3000", check=HealthCheck()), lambda _: False),
    (http("shop", "http://[2001:db8::1]:3000", check=HealthCheck()), lambda _: False),
    (http("shop", "http://[2001:db8::1]:3000"), lambda _: False),
]


@pytest.mark.parametrize(
    ("route", "is_limited"),
    LIMITED,
    ids=["cookie", "check times", "checked targets", "plain check", "checked IPv6", "IPv6"],
)
async def test_only_what_a_backend_names_as_its_limit_needs_a_reload(
    driver: Driver, route: HttpRoute, is_limited: Callable[[RuntimeLimits], bool]
) -> None:
    """The profile is loaded and has room, so the limits are the only reason that there may be."""
    other = msgspec.structs.replace(route, targets=http("x", "http://10.0.9.9:1").targets)
    others = [
        msgspec.structs.replace(
            other,
            subdomain=Subdomain(f"other{n}"),
            domain=DomainName(f"other{n}.apps.example.com"),
        )
        for n in range(HANDFUL + 1)
    ]
    await driver.to(*others)

    planned = await driver.to(*others, route)

    limited = is_limited(driver.backend.limits)
    assert planned.reasons == driver.reasons(limited=limited)
    await driver.assert_in_step()


async def test_the_version_is_known(driver: Driver) -> None:
    await driver.seen()
    assert driver.backend.version


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=[Quiet.function_scoped_fixture])
@given(before=ROUTE_SETS, after=ROUTE_SETS)
async def test_any_routes_to_any_routes(
    driver: Driver, before: list[Route], after: list[Route]
) -> None:
    await driver.to(*before)
    await driver.to(*after)
    async with asyncio.timeout(10):
        await driver.assert_in_step()
