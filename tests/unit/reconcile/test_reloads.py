"""Reloads: prepared beside changes that go on, loaded as of then, and not too often."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import msgspec
import pytest

from frontserver.backends.memory import MemoryBackend
from frontserver.backends.port import Leftovers, Prepared
from frontserver.errors import ConfigRejectedError, ProxyUnavailableError
from frontserver.model.measurements import Unmeasured
from frontserver.model.routes import CookieName, HttpRoute
from frontserver.model.status import RouteState
from frontserver.planning.compiled import (
    HOSTS,
    HTTPS_CERTIFICATE,
    Certificate,
    CompiledConfig,
)
from frontserver.planning.diff import Changes, diff
from frontserver.planning.layout import HANDFUL, KEPT_UNUSED, PoolPolicy
from frontserver.planning.plan import Plan, ReloadReason, plan
from frontserver.planning.running import adopt
from frontserver.reconcile.applied import Applied
from frontserver.reconcile.backoff import Backoff
from frontserver.reconcile.reloads import Reloads
from tests.unit.planning.routes import FRONTENDS, POLICY, config, http
from tests.unit.reconcile.world import QUICK, World, states, until

SHOP = "shop.apps.example.com"
NEW, EMPTY, REFILL = (
    ReloadReason.NEW_PROFILE,
    ReloadReason.POOL_EMPTY,
    ReloadReason.POOL_REFILL,
)
ACTIVE, PENDING, FAILED = RouteState.ACTIVE, RouteState.PENDING, RouteState.FAILED
OTHER_FRONTENDS = msgspec.structs.replace(FRONTENDS, hard_stop_after="1m")


class Told(Unmeasured):
    """Keeps what it is told of reloads."""

    def __init__(self) -> None:
        self.good: list[tuple[str, ...]] = []
        self.bad: list[tuple[str, ...]] = []
        self.seconds: list[float] = []

    def reloaded(self, reasons: Iterable[str], seconds: float) -> None:
        self.good.append(tuple(reasons))
        self.seconds.append(seconds)

    def reload_failed(self, reasons: Iterable[str], seconds: float) -> None:
        self.bad.append(tuple(reasons))
        self.seconds.append(seconds)


def sticky(name: str = "one", *urls: str, cookie: str = "A") -> HttpRoute:
    """A route of a profile that isn't standard."""
    return http(name, *urls, sticky=CookieName(cookie))


# --- beside changes that go on ---


@asynccontextmanager
async def being_prepared(world: World, *routes: HttpRoute) -> AsyncIterator[asyncio.Event]:
    """A reload for these routes is under way, until the event is set; the loop runs."""
    ready = world.backend.preparing = asyncio.Event()
    async with world.running() as reconciler:
        world.source.put(*routes)
        reconciler.wake()
        await until(lambda: reconciler._reloads.preparing)
        yield ready
        ready.set()


def settled(world: World, *routes: HttpRoute) -> bool:
    """Whether the newest revision of these routes was dealt with."""
    board = world.reconciler.board
    return all(
        board.get(route.key).revision == world.source.rows[route.key].revision
        and board.get(route.key).state != PENDING
        for route in routes
    )


async def test_routes_that_need_no_reload_go_live_while_one_is_prepared() -> None:
    world = World()
    async with being_prepared(world, sticky()) as ready:
        for number in range(3):
            world.source.put(http(f"s{number}"))
            world.reconciler.wake()
            await until(lambda: settled(world, http(f"s{number}")))  # noqa: B023
        assert world.backend.reloads == []
        waiting = world.reconciler.status(sticky().key)
        assert (waiting.state, waiting.reload) == (PENDING, NEW)

        ready.set()
        await until(lambda: settled(world, sticky()))

    assert world.backend.reloads == [(NEW,)]
    assert len(world.maps(HOSTS)) == 4, "what was done meanwhile is part of what was loaded"
    assert world.reconciler.status(sticky().key).reload == NEW
    assert world.reconciler.status(http("s0").key).reload is None


async def test_a_route_that_changed_while_its_reload_was_prepared_is_loaded_as_it_is_now() -> None:
    world = World()
    async with being_prepared(world, sticky()) as ready:
        changed = sticky("one", "http://10.0.0.9:3000")
        world.source.put(changed)
        world.reconciler.wake()
        await until(lambda: world.reconciler.proxy_status().stored_revision == 2)

        ready.set()
        await until(lambda: settled(world, changed))

    assert world.servers_of("one.apps.example.com") == ["10.0.0.9:3000"]


async def test_a_route_that_was_removed_while_its_reload_was_prepared_never_goes_live() -> None:
    world = World()
    loaded: list[list[str]] = []
    load = world.backend._load

    def note(state: object) -> None:
        load(state)  # type: ignore[arg-type]
        loaded.append(sorted(world.maps(HOSTS)))

    async with being_prepared(world, sticky(), sticky("two")) as ready:
        world.backend._load = note  # type: ignore[method-assign, assignment]
        revision = world.source.remove(sticky())
        world.reconciler.wake()
        await until(lambda: world.reconciler.proxy_status().stored_revision == revision)

        ready.set()
        await until(lambda: settled(world, sticky("two")))
        assert (await world.reconciler.settle(sticky().key, revision, 5)).state == ACTIVE

    assert loaded == [["two.apps.example.com"]]


async def test_a_reload_for_which_nobody_waits_any_more_is_not_carried_out() -> None:
    world = World()
    async with being_prepared(world, sticky()) as ready:
        revision = world.source.remove(sticky())
        world.reconciler.wake()
        await until(lambda: world.reconciler.proxy_status().stored_revision == revision)

        ready.set()
        await until(lambda: not world.reconciler._reloads.preparing)
        assert (await world.reconciler.settle(sticky().key, revision, 5)).state == ACTIVE

    assert world.backend.reloads == []


async def test_frontends_that_changed_meanwhile_discard_what_was_prepared() -> None:
    world = World()
    async with being_prepared(world, sticky()) as ready:
        reconciler = world.reconciler
        reconciler.reframe(OTHER_FRONTENDS)
        ready.set()
        await until(lambda: settled(world, sticky()))

    assert world.backend.reloads == [(ReloadReason.FRONTENDS, NEW)], "one reload, of both"
    assert world.backend.persisted is not None
    assert world.backend.persisted.config.frontends == OTHER_FRONTENDS


async def test_a_certificate_that_came_meanwhile_discards_what_was_prepared() -> None:
    world = World()
    async with being_prepared(world, sticky()) as ready:
        world.certificates = (Certificate(HTTPS_CERTIFICATE, "first"),)
        world.reconciler.wake()
        await until(lambda: world.reconciler._desired.config.certificates != ())
        ready.set()
        await until(lambda: settled(world, sticky()))

    assert world.backend.reloads == [(ReloadReason.CERTIFICATES, NEW)]
    assert world.backend.persisted is not None
    assert world.backend.persisted.config.certificates == world.certificates


async def test_a_haproxy_that_restarts_meanwhile_gets_its_reload_all_the_same() -> None:
    world = World()
    async with being_prepared(world, sticky()) as ready:
        world.backend.crash()
        ready.set()
        await until(lambda: settled(world, sticky()))

    assert world.backend.reloads == [(NEW,)]
    assert world.servers_of("one.apps.example.com") == ["10.0.0.1:3000"]


async def test_the_answer_names_the_reason_of_each_route_by_itself() -> None:
    world = World(policy=PoolPolicy((), spare=0))
    await world.publish(sticky("first"))

    statuses = await world.publish(sticky("second"), sticky("third", cookie="B"))

    assert [status.reload for status in statuses] == [EMPTY, NEW]
    assert states(statuses) == [ACTIVE, ACTIVE]
    assert world.backend.reloads[-1] == (NEW, EMPTY)


async def test_a_route_that_changes_without_a_reload_later_names_none() -> None:
    world = World()
    (status,) = await world.publish(sticky())
    assert status.reload == NEW

    (status,) = await world.publish(sticky("one", "http://10.0.0.2:3000"))

    assert (status.state, status.reload) == (ACTIVE, None)


async def test_a_route_that_its_reload_refused_is_failed_for_itself() -> None:
    world = World(refuses=lambda thing: "no" if getattr(thing, "key", None) == bad.key else None)
    bad = sticky("bad", cookie="B")

    statuses = await world.publish(sticky(), bad)

    assert states(statuses) == [ACTIVE, FAILED]
    assert world.backend.reloads == [(NEW,)]


# --- when the next one may begin ---


class Alone:
    """Reloads without a reconciler, over a HAProxy of dictionaries."""

    def __init__(
        self,
        *,
        gap: float = 0.0,
        rejected: float = 0.0,
        budget: int = 1 << 30,
        policy: PoolPolicy = POLICY,
        pause: float = 0.0,
    ) -> None:
        self.backend = MemoryBackend()
        self.told = Told()
        self.woken = 0
        self.applied = Applied(self.backend, policy, CompiledConfig(FRONTENDS))
        self.reloads = Reloads(
            self.applied,
            Backoff(pause, pause, time.monotonic),
            gap=gap,
            rejected=rejected,
            budget=budget,
            measurements=self.told,
            woken=self._wake,
        )

    async def start(self) -> Alone:
        await self.backend.start(self.applied.state)
        return self

    def begin(self, *routes: HttpRoute, why: ReloadReason = NEW) -> CompiledConfig:
        """Begin a reload that brings in these routes; returns what is wanted."""
        wanted = config(*routes)
        planned = self.plan(wanted)
        self.reloads.begin(
            wanted, planned, planned.reasons or (why,), dict.fromkeys(wanted.routes, 1)
        )
        return wanted

    def plan(self, wanted: CompiledConfig) -> Plan:
        changes = diff(self.applied.config, wanted)
        return plan(Changes(routes=changes.routes), self.applied.layout)

    async def once(self, *routes: HttpRoute) -> None:
        """What can be done without a reload, and then a whole one."""
        await self.applied.take(self.plan(config(*routes)))
        wanted = self.begin(*routes)
        await self.reloads.wait()
        await self.reloads.finish(wanted, lambda _: 1)

    async def grow(self, count: int) -> int:
        """A reload with so many routes of one profile; returns the spare slots it left."""
        await self.once(*(sticky(f"s{number}") for number in range(count)))
        (pool,) = self.applied.layout.pools.values()
        return pool.spare

    def _wake(self) -> None:
        self.woken += 1


async def test_whoever_waits_is_woken_when_a_reload_is_prepared() -> None:
    alone = await Alone().start()
    ready = alone.backend.preparing = asyncio.Event()
    wanted = alone.begin(sticky())
    assert alone.reloads.preparing
    assert not alone.reloads.prepared
    assert alone.reloads.keys == {sticky().key}

    ready.set()
    await alone.reloads.wait()
    await until(lambda: alone.woken == 1)
    assert alone.reloads.prepared

    assert await alone.reloads.finish(wanted, lambda _: 1) == ({sticky().key}, {})
    assert not alone.reloads.preparing
    assert await alone.reloads.finish(wanted, lambda _: 1) == (frozenset(), {}), "there is none"


async def test_there_is_a_pause_after_each_reload_and_none_before_the_first() -> None:
    alone = await Alone(gap=100.0).start()
    assert (alone.reloads.remaining, alone.reloads.waits) == (0.0, None)

    await alone.once(sticky())

    assert 90.0 < alone.reloads.remaining <= 100.0
    assert alone.reloads.waits == "pause"


@pytest.mark.parametrize(
    ("workers", "times"), [(0, 1), (1, 1), (4, 1), (5, 2), (6, 4), (12, 256), (1000, 256)]
)
async def test_few_old_workers_cost_nothing_and_each_beyond_doubles_the_pause(
    workers: int, times: int
) -> None:
    alone = await Alone(gap=100.0).start()
    await alone.once(sticky())
    alone.backend.old_workers = Leftovers(workers, 1)

    await alone.reloads.look()

    assert 90.0 * times < alone.reloads.remaining <= 100.0 * times


async def test_while_old_workers_hold_too_much_memory_reloads_wait_and_say_so() -> None:
    told = Told()
    world = World(budget=1 << 20, measurements=told)
    await world.reconciler.step()
    world.backend.old_workers = Leftovers(2, 3 << 20)

    statuses = await world.publish(sticky(), http())

    assert states(statuses) == [PENDING, ACTIVE], "who needs no reload doesn't wait"
    status = world.reconciler.proxy_status()
    assert status.reload_waits == "old-workers"
    assert (status.old_workers, status.old_worker_bytes) == (2, 3 << 20)
    assert world.reconciler._reloads.over_budget == "2 old workers hold 3 MiB of memory"
    assert world.backend.reloads == told.good == []

    world.backend.old_workers = Leftovers(1, 1 << 20)
    await world.reconciler.step()

    assert world.reconciler.status(sticky().key).state == ACTIVE
    assert world.reconciler.proxy_status().reload_waits is None
    assert told.good == [(NEW,)]


async def test_the_loop_goes_on_by_itself_once_old_workers_have_ended() -> None:
    world = World(budget=1 << 20)
    world.backend.old_workers = Leftovers(1, 2 << 20)
    async with world.running() as reconciler:
        world.source.put(sticky())
        reconciler.wake()
        await until(lambda: reconciler.proxy_status().reload_waits == "old-workers")

        world.backend.old_workers = Leftovers()
        await until(lambda: settled(world, sticky()))

    assert world.backend.reloads == [(NEW,)]


async def test_reloads_that_come_too_soon_go_in_together_after_the_pause() -> None:
    world = World(timing=msgspec.structs.replace(QUICK, reloads=0.2))
    async with world.running() as reconciler:
        for number in range(6):
            world.source.put(sticky(f"s{number}", cookie=f"C{number}"))
            reconciler.wake()
            await until(lambda: reconciler._stored.revision == world.source.revision)
        await until(lambda: settled(world, *(sticky(f"s{n}", cookie=f"C{n}") for n in range(6))))

    assert 2 <= len(world.backend.reloads) <= 3


async def test_a_failure_backs_off_and_is_told_with_its_reasons() -> None:
    alone = await Alone(pause=100.0).start()
    wanted = alone.begin(sticky())
    await alone.reloads.wait()
    alone.backend.down = True

    with pytest.raises(ProxyUnavailableError):
        await alone.reloads.finish(wanted, lambda _: 1)

    assert (alone.told.good, alone.told.bad) == ([], [(NEW,)])
    assert "HAProxy doesn't answer" in (alone.reloads.problem or "")
    assert alone.reloads.waits == "failed"
    assert alone.reloads.remaining > 40.0
    assert alone.reloads.keys == {sticky().key}, "they are to be tried again"
    assert not alone.reloads.preparing

    alone.reloads.forgive()
    assert (alone.reloads.problem, alone.reloads.remaining) == (None, 0.0)


async def test_a_problem_is_over_when_no_reload_is_wanted_but_not_while_one_is_under_way() -> None:
    alone = await Alone(pause=100.0).start()
    alone.reloads._backoff.failed("it was refused")
    wanted = alone.begin(sticky())
    alone.reloads.settled()
    assert alone.reloads.problem == "it was refused"

    await alone.reloads.wait()
    await alone.reloads.finish(wanted, lambda _: 1)
    alone.reloads.settled()
    assert alone.reloads.problem is None


async def test_what_is_measured_of_a_reload_spans_its_preparation() -> None:
    alone = await Alone().start()
    ready = alone.backend.preparing = asyncio.Event()
    wanted = alone.begin(sticky())
    asyncio.get_running_loop().call_later(0.03, ready.set)
    await alone.reloads.wait()
    await alone.reloads.finish(wanted, lambda _: 1)

    assert alone.told.good == [(NEW,)]
    assert alone.told.seconds[0] >= 0.02


async def test_a_reload_of_nothing_but_refused_routes_is_none() -> None:
    alone = await Alone(gap=100.0).start()
    alone.backend.refuses = lambda thing: "no" if hasattr(thing, "profile") else None
    wanted = alone.begin(sticky())
    await alone.reloads.wait()

    settled_keys, refused = await alone.reloads.finish(wanted, lambda _: 1)

    assert settled_keys == {sticky().key}
    assert refused == {sticky().key: "no"}
    assert (alone.backend.reloads, alone.told.good, alone.told.bad) == ([], [], [])
    assert alone.reloads.remaining == 0.0, "it costs nobody a pause"


async def test_what_haproxy_refused_of_a_route_that_changed_since_is_forgotten() -> None:
    alone = await Alone().start()
    alone.backend.refuses = lambda thing: "no" if hasattr(thing, "profile") else None
    wanted = alone.begin(sticky())
    await alone.reloads.wait()

    assert await alone.reloads.finish(wanted, lambda _: 2) == (frozenset(), {})


# --- giving up ---


class Discarding(MemoryBackend):
    """Keeps what was prepared and thrown away."""

    def __init__(self) -> None:
        super().__init__()
        self.discarded: list[Prepared] = []

    async def discard(self, prepared: Prepared) -> None:
        self.discarded.append(prepared)


@pytest.mark.parametrize("ready", [True, False])
async def test_a_reload_that_is_given_up_gives_back_its_routes(ready: bool) -> None:
    alone = Alone()
    backend = alone.backend = alone.applied._backend = Discarding()
    await alone.start()
    if not ready:
        backend.preparing = asyncio.Event()
    alone.begin(sticky())
    if ready:
        await alone.reloads.wait()

    assert await alone.reloads.abandon() == {sticky().key}

    assert not alone.reloads.preparing
    assert len(backend.discarded) == (1 if ready else 0)
    assert await alone.reloads.abandon() == frozenset(), "there is none any more"
    assert backend.reloads == []


async def test_one_whose_preparation_failed_can_be_given_up_too() -> None:
    alone = await Alone().start()

    async def fail(*_: object) -> Prepared:
        raise ProxyUnavailableError("no")

    alone.backend.prepare = fail  # type: ignore[method-assign, assignment]
    alone.begin(sticky())
    await alone.reloads.wait()

    assert await alone.reloads.abandon() == {sticky().key}


# --- hot pools ---


async def test_pools_that_do_not_suffice_any_more_are_laid_out_anew() -> None:
    """Many came meanwhile, onto slots that the prepared pool, of a calmer moment, hasn't."""
    alone = Alone(policy=PoolPolicy((), spare=0))
    backend = alone.backend = alone.applied._backend = Discarding()
    await alone.start()
    few = HANDFUL + await alone.grow(HANDFUL) + 1
    spare = await alone.grow(few)
    alone.reloads._grown = {}
    routes = [sticky(f"s{number}") for number in range(few + spare)]
    other = sticky("other", cookie="B")
    alone.begin(*routes[:few], other)
    await alone.reloads.wait()

    await alone.applied.take(alone.plan(config(*routes)))
    wanted = config(*routes, other)
    assert await alone.reloads.finish(wanted, lambda _: 1) == ({other.key}, {})

    assert len(backend.discarded) == 1
    assert backend.running is not None
    found = adopt(wanted, backend.running, None)
    assert not diff(found.config, wanted)
    assert found.layout.slots == alone.applied.layout.slots


async def test_a_pool_that_is_used_up_again_soon_grows_faster() -> None:
    alone = await Alone(policy=PoolPolicy((), spare=0)).start()
    first = await alone.grow(HANDFUL)
    (profile_id,) = alone.applied.layout.pools
    assert alone.reloads.hot == {profile_id}

    second = await alone.grow(HANDFUL + first + 1)
    third = await alone.grow(HANDFUL + first + 1 + second + 1)

    assert first == HANDFUL
    assert second >= 4 * first
    assert third >= 4 * second


async def test_a_pool_that_grew_long_ago_is_hot_no_more() -> None:
    alone = await Alone(policy=PoolPolicy((), spare=0)).start()
    first = await alone.grow(HANDFUL)
    alone.reloads._grown = {one: at - 61.0 for one, at in alone.reloads._grown.items()}
    assert alone.reloads.hot == frozenset()

    second = await alone.grow(HANDFUL + first + 1)

    assert second < 2 * first


async def test_a_handful_stays_without_spare_slots_however_often_it_comes() -> None:
    alone = await Alone(policy=PoolPolicy((), spare=0)).start()
    for count in range(1, HANDFUL):
        assert await alone.grow(count) == 0
    assert len(alone.reloads.hot) == 1


async def test_a_profile_that_went_is_hot_no_more() -> None:
    alone = await Alone(policy=PoolPolicy((), spare=0)).start()
    await alone.grow(HANDFUL)

    (first,) = alone.applied.layout.pools
    for number in range(KEPT_UNUSED + 1):
        await alone.once(http("only", sticky=CookieName(f"Other{number}")))

    assert first not in alone.applied.layout.pools
    assert alone.reloads.hot == {*alone.applied.layout.pools}


async def test_a_reload_that_haproxy_refused_is_not_soon_tried_again() -> None:
    """It passed HAProxy's check: each try makes HAProxy refuse new connections for a while."""
    alone = await Alone(rejected=30.0).start()
    wanted = alone.begin(sticky())

    async def refuse(*arguments: object) -> None:
        raise ConfigRejectedError("the port is taken")

    alone.backend.reload = refuse  # type: ignore[assignment, method-assign]
    await alone.reloads.wait()

    with pytest.raises(ConfigRejectedError):
        await alone.reloads.finish(wanted, lambda _: 1)

    assert alone.reloads.remaining > 20
    alone.reloads.forgive()
    assert alone.reloads.remaining == 0
