"""Looks for drift: a few routes at a time, so that a full round sees every one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import pytest

from frontserver.backends.memory import MemoryBackend
from frontserver.backends.port import Look
from frontserver.model.routes import HealthCheck, Route
from frontserver.model.status import Health
from frontserver.planning.actions import Action, CutServer, DropEntry, PutEntry, PutServer
from frontserver.planning.compile import STANDARD_PROFILES
from frontserver.planning.compiled import HOSTS, PATHS, VALUES, CompiledConfig, Server
from frontserver.planning.diff import diff
from frontserver.planning.layout import PoolPolicy
from frontserver.planning.plan import plan
from frontserver.planning.running import RunningServer, adopt
from frontserver.reconcile.applied import Applied
from frontserver.reconcile.drift import SLICE, DriftLook, health_of
from tests.unit.planning.routes import FRONTENDS, compiled, config, http, mongo
from tests.unit.reconcile.world import World

ROOM = PoolPolicy(STANDARD_PROFILES, spare=200)


class Asked(MemoryBackend):
    """Keeps what each look asked for. `worker` is who answers."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[dict[str, list[tuple[str, str]]]] = []
        self.worker = 1
        self.counts: Mapping[str, int] | None = None

    async def look(self, backends: Mapping[str, Sequence[tuple[str, str]]]) -> Look:
        self.looks.append({backend: list(pairs) for backend, pairs in backends.items()})
        seen = await super().look(backends)
        counts = seen.counts if self.counts is None else self.counts
        return msgspec.structs.replace(seen, worker=self.worker, counts=counts)


class House:
    """A HAProxy of dictionaries that runs some routes, and who looks at it."""

    def __init__(self) -> None:
        self.backend = Asked()
        self.applied = Applied(self.backend, ROOM, CompiledConfig(FRONTENDS))
        self.drift = DriftLook(self.backend, self.applied)

    async def run(self, *routes: Route) -> House:
        await self.backend.start(self.applied.state)
        known = CompiledConfig(FRONTENDS)
        layout = self.applied.layout.reloaded({}, ROOM)
        self.applied.state = msgspec.structs.replace(self.applied.state, layout=layout)
        self.backend._load(self.applied.state)
        assert await self.applied.take(plan(diff(known, config(*routes)), layout)) == {}
        return self

    def slot(self, route: Route) -> str:
        return self.applied.layout.slots[route.key]

    async def tamper(self, action: Action) -> None:
        """Somebody types at the socket."""
        await self.backend.perform([action])

    async def whole_round(self) -> list[bool]:
        """What the looks of one round found."""
        looks = -(-len(self.applied.layout.slots) // SLICE)
        return [(await self.drift.look()).as_expected for _ in range(looks)]


def many(count: int) -> list[Route]:
    return [http(f"s{number}") for number in range(count)]


async def test_a_round_sees_every_route_and_no_look_asks_for_more_than_a_slice() -> None:
    house = await House().run(*many(2 * SLICE + 7), mongo())

    assert await house.whole_round() == [True, True, True]

    seen = [backend for look in house.backend.looks for backend in look]
    assert sorted(seen) == sorted(house.applied.layout.slots.values())
    assert [len(look) for look in house.backend.looks] == [SLICE, SLICE, 8]
    pairs = [len(pairs) for look in house.backend.looks for pairs in look.values()]
    assert max(pairs) <= 3, "routing, flags, values: a handful for each route"


async def test_the_next_round_begins_where_routes_are_by_then() -> None:
    house = await House().run(*many(3))
    await house.whole_round()
    gone, new = http("s1"), http("new")
    wanted = house.applied.config.with_routes({gone.key: None} | compiled(new))
    changes = diff(house.applied.config, wanted)
    await house.applied.take(plan(changes, house.applied.layout))

    assert await house.whole_round() == [True]

    assert set(house.backend.looks[-1]) == {house.slot(r) for r in (http("s0"), http("s2"), new)}


async def test_a_route_that_goes_in_the_midst_of_a_round_is_passed_over() -> None:
    house = await House().run(*many(SLICE + 2))
    first = await house.drift.look()
    remaining = set(house.applied.layout.slots) - set(first.healths)
    gone = next(iter(remaining))
    wanted = house.applied.config.with_routes({gone: None})
    await house.applied.take(plan(diff(house.applied.config, wanted), house.applied.layout))

    second = await house.drift.look()

    assert second.as_expected
    assert set(second.healths) == remaining - {gone}


async def test_with_nothing_to_look_at_all_is_as_expected() -> None:
    house = await House().run()
    assert (await house.drift.look()).as_expected
    assert house.backend.looks == [{}]


@pytest.mark.parametrize(
    "damage",
    [
        "server cut",
        "server added",
        "other address",
        "in maintenance",
        "other weight",
        "routing gone",
        "routing elsewhere",
        "value gone",
    ],
)
async def test_what_isnt_as_it_should_be_is_found_within_a_round(damage: str) -> None:
    victim = http("s60", use_tls=False)
    house = await House().run(*many(60), victim, *many(120)[70:])
    slot, route = house.slot(victim), house.applied.config.routes[victim.key]
    (server,) = route.servers
    assert house.backend.running is not None
    other = Server("other", "10.9.9.9", 80)
    match damage:
        case "server cut":
            await house.tamper(CutServer(slot, server.name))
        case "server added":
            await house.tamper(PutServer(slot, other))
        case "other address":
            await house.tamper(PutServer(slot, msgspec.structs.replace(server, address="10.9.9.9")))
        case "other weight":
            await house.tamper(PutServer(slot, msgspec.structs.replace(server, weight=3)))
        case "in maintenance":
            _be(house, slot, server.name, ready=False)
        case "routing gone":
            await house.tamper(DropEntry(*route.routing[0]))
        case "routing elsewhere":
            await house.tamper(PutEntry(*route.routing[0], house.slot(http("s1"))))
        case "value gone":
            assert route.values, "it has a flag"
            value = route.values[0]
            await house.tamper(DropEntry(value.map, slot + value.suffix))

    assert False in await house.whole_round()


def _be(house: House, backend: str, name: str, **what: bool) -> None:
    running = house.backend.running
    assert running is not None
    changed = msgspec.structs.replace(running.servers[backend][name], **what)
    servers = {**running.servers, backend: {**running.servers[backend], name: changed}}
    house.backend.running = msgspec.structs.replace(running, servers=servers)


@pytest.mark.parametrize("name", [HOSTS, PATHS])
async def test_a_stray_entry_that_could_lead_anywhere_is_noticed_at_the_very_next_look(
    name: str,
) -> None:
    """No round would ask for a key that isn't known: the number of entries tells."""
    house = await House().run(*many(3 * SLICE))
    assert (await house.drift.look()).as_expected

    await house.tamper(PutEntry(name, "evil.apps.example.com", house.slot(http("s0"))))

    assert not (await house.drift.look()).as_expected


async def test_a_stray_value_leads_nowhere_and_waits_for_a_whole_observation() -> None:
    house = await House().run(*many(2))
    await house.tamper(PutEntry(VALUES, "nobody.0", "x"))
    assert (await house.drift.look()).as_expected


async def test_a_map_that_haproxy_does_not_count_is_no_difference() -> None:
    house = await House().run(*many(2))
    house.backend.counts = {}
    assert (await house.drift.look()).as_expected


async def test_another_worker_is_noticed_unless_somebody_knows_of_it() -> None:
    house = await House().run(*many(2))
    assert (await house.drift.look()).as_expected

    house.backend.worker = 2
    assert not (await house.drift.look()).as_expected
    assert (await house.drift.look()).as_expected, "it was told once"

    house.backend.worker = 3
    house.drift.forget_worker()
    assert (await house.drift.look()).as_expected


async def test_health_is_told_of_the_routes_that_were_looked_at() -> None:
    checked, plain = http("checked", check=HealthCheck()), http("plain")
    house = await House().run(checked, plain)

    assert (await house.drift.look()).healths == {
        checked.key: Health.UP,
        plain.key: Health.UNKNOWN,
    }

    (server,) = house.applied.config.routes[checked.key].servers
    _be(house, house.slot(checked), server.name, up=False)
    seen = await house.drift.look()
    assert seen.healths[checked.key] == Health.DOWN
    assert seen.as_expected, "an origin that is down is no drift"


def test_a_route_is_up_while_one_of_its_servers_is() -> None:
    route = compiled(http(check=HealthCheck()))[http().key]
    up, down = RunningServer("a", 1), RunningServer("b", 1, up=False)
    assert health_of(route, [down, up]) == Health.UP
    assert health_of(route, [down]) == health_of(route, []) == Health.DOWN
    assert health_of(None, [up]) == Health.UNKNOWN


@pytest.mark.parametrize(
    ("routes", "pause"), [(0, 10.0), (SLICE, 10.0), (SLICE + 1, 5.0), (4 * SLICE, 2.5)]
)
async def test_looks_are_spread_over_the_seconds_of_a_round(routes: int, pause: float) -> None:
    house = await House().run(*many(routes))
    assert house.drift.pause(10.0, 0.1) == pytest.approx(pause)


async def test_with_very_many_routes_a_round_takes_longer_rather_than_looks_come_thick() -> None:
    house = await House().run(*many(4 * SLICE))
    assert house.drift.pause(10.0, 4.0) == 4.0


async def test_only_when_something_is_off_everything_is_observed() -> None:
    world = World()
    await world.publish(*many(5))
    observed = 0
    observe = world.backend.observe

    async def count() -> object:
        nonlocal observed
        observed += 1
        return await observe()

    world.backend.observe = count  # type: ignore[method-assign, assignment]
    for _ in range(3):
        world.reconciler._look_due = True
        await world.reconciler.step()
    assert observed == 0

    await world.backend.perform([PutEntry(HOSTS, "evil.apps.example.com", "p1.0")])
    world.reconciler._look_due = True
    await world.reconciler.step()
    await world.reconciler.step()

    assert observed == 1
    assert "evil.apps.example.com" not in world.maps(HOSTS)
    found = adopt(config(*many(5)), await observe(), None)
    assert set(found.config.routes) == {route.key for route in many(5)}
