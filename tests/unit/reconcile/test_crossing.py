"""Nobody's traffic ever reaches somebody else's server."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from frontserver.errors import ProxyUnavailableError
from frontserver.model.names import AgentId
from frontserver.model.routes import CookieName, HttpRoute
from frontserver.model.status import RouteState
from frontserver.planning.actions import Action, CutServer, DropEntry, PutServer, RetireServer
from frontserver.planning.compiled import HOSTS, SNI, CompiledRoute
from frontserver.planning.running import Running, RunningServer, materialise
from tests.unit.planning.routes import http, mongo
from tests.unit.reconcile.world import World, until

SHOP = "shop.apps.example.com"
OTHER = "other.apps.example.com"


def of(agent: str, route: HttpRoute) -> HttpRoute:
    return msgspec.structs.replace(route, agent_id=AgentId(agent))


def give_away(world: World, route: HttpRoute) -> int:
    """The first agent removes `shop`, and another one takes it, before the next round."""
    world.source.remove(http())
    return world.source.put(of("b1", route))


async def test_a_name_given_away_does_not_lead_to_its_former_owner_while_it_waits_for_dns() -> None:
    world = World()
    await world.publish(http())

    give_away(world, http("shop", "http://nowhere.internal:1"))
    await world.reconciler.step()

    assert SHOP not in world.maps(HOSTS)
    assert world.reconciler.status(http().key).state == RouteState.PENDING
    cut = [action for action in world.backend.performed if isinstance(action, CutServer)]
    assert len(cut) == 1, "and the former owner's streams have ended"


async def test_a_name_given_away_while_haproxy_is_down_does_not_lead_to_its_former_owner() -> None:
    world = World()
    await world.publish(http())
    world.backend.down = True
    world.source.remove(http())
    with pytest.raises(ProxyUnavailableError):
        await world.reconciler.step()
    world.source.put(of("b1", http("shop", "http://nowhere.internal:1")))
    world.backend.down = False

    await world.reconciler.step()

    assert SHOP not in world.maps(HOSTS)


@pytest.mark.parametrize("stage", ["runtime", "reload"])
async def test_a_refused_route_does_not_leave_its_name_to_its_former_owner(stage: str) -> None:
    def refuses(thing: object) -> str | None:
        at_runtime = isinstance(thing, PutServer) and thing.server.address == "10.0.0.66"
        at_reload = isinstance(thing, CompiledRoute) and thing.profile.cookie == "BAD"
        return "no" if at_runtime or at_reload else None

    world = World(refuses=refuses)
    await world.publish(http())
    sticky = CookieName("BAD") if stage == "reload" else None

    give_away(world, http("shop", "http://10.0.0.66:1", sticky=sticky))
    await world.reconciler.step()

    assert world.maps(HOSTS) == {}
    assert world.reconciler.status(http().key).state == RouteState.FAILED


async def test_a_name_given_away_leads_nowhere_until_its_reload_has_come() -> None:
    world = World()
    await world.publish(http())

    async def reload(*arguments: object) -> None:
        raise ProxyUnavailableError("the master doesn't answer")

    world.backend.reload = reload  # type: ignore[assignment, method-assign]
    give_away(world, http("shop", "http://10.0.0.2:1", sticky=CookieName("NEW")))
    with pytest.raises(ProxyUnavailableError):
        await world.reconciler.step()

    assert world.maps(HOSTS) == {}


async def test_a_name_given_away_just_before_a_restart_does_not_lead_to_its_former_owner() -> None:
    world = World()
    await world.publish(http())
    await world.reconciler.remember()
    world.source.saved.clear()  # The removed route's row is gone, and what was known of it.

    give_away(world, http("shop", "http://nowhere.internal:1"))
    await world.again().step()

    assert SHOP not in world.maps(HOSTS)


async def test_a_name_given_away_stays_in_doubt_as_long_as_haproxy_is_down() -> None:
    """Noting that it waits must not look as if it had been dealt with."""
    world = World()
    await world.publish(http())
    world.backend.down = True
    give_away(world, http("shop", "http://nowhere.internal:1"))
    async with world.running() as reconciler:
        await until(lambda: reconciler.proxy_status().reason is not None)
        await until(lambda: reconciler.status(http().key).reason is not None)
        await reconciler.remember()
    world.backend.down = False

    await world.again().step()

    assert SHOP not in world.maps(HOSTS)


async def test_an_owner_who_changes_a_route_keeps_it_until_the_new_one_can_be_had() -> None:
    world = World()
    await world.publish(http())

    await world.publish(http("shop", "http://nowhere.internal:1"))
    assert world.servers_of(SHOP) == ["10.0.0.1:3000"]
    await world.reconciler.remember()

    await world.again().step()
    assert world.servers_of(SHOP) == ["10.0.0.1:3000"]


async def test_a_name_stays_empty_as_long_as_haproxy_does_not_let_go_of_the_former_owner() -> None:
    stuck = True

    def refuses(thing: object) -> str | None:
        return "can't" if stuck and isinstance(thing, CutServer) else None

    world = World(refuses=refuses)
    await world.publish(http())

    revision = give_away(world, http("shop", "http://10.0.0.2:3000"))
    await world.reconciler.step()
    status = await world.reconciler.settle(http().key, revision, 0)
    assert (status.state, "can't" in (status.reason or "")) == (RouteState.PENDING, True)
    assert "10.0.0.2:3000" not in world.servers_of(SHOP)

    stuck = False
    async with world.running() as reconciler:
        assert (await reconciler.settle(http().key, revision, 5)).state == RouteState.ACTIVE
    assert world.servers_of(SHOP) == ["10.0.0.2:3000"]


# --- what HAProxy was found running ---


class Witness:
    """Looks after every action whether a domain newly leads to a server that isn't its own."""

    def __init__(self, world: World, own: dict[str, set[str]]) -> None:
        self.world = world
        self.own = own
        self.crossed: list[str] = []
        self._do = world.backend._do
        world.backend._do = self._watched  # type: ignore[method-assign]

    def wrong(self, running: Running) -> set[tuple[str, str]]:
        return {
            (domain, server.address)
            for domain, slot in running.maps[HOSTS].items()
            for server in running.servers.get(slot, {}).values()
            if server.address not in self.own.get(domain, set())
        }

    def _watched(self, running: Running, action: Action) -> Running:
        after = self._do(running, action)
        for domain, address in self.wrong(after) - self.wrong(running):
            self.crossed.append(f"{domain} → {address} by {action}")
        return after


NAMES = ("abc", "mno", "xyz")


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("lost", ["nothing", "entries", "servers", "memory"])
async def test_a_haproxy_that_came_back_with_other_files_never_crosses(
    order: tuple[int, ...], lost: str
) -> None:
    """Such as the last good configuration, in which other routes sat on the same slots."""
    routes = [http(name, f"http://10.0.0.{n}:80") for n, name in enumerate(NAMES)]
    own = {f"{name}.apps.example.com": {f"10.0.0.{n}"} for n, name in enumerate(NAMES)}
    world = World()
    await world.publish(*routes)
    state = world.backend.persisted
    assert state is not None
    slots = [state.layout.slots[route.key] for route in routes]
    mixed = dict(zip((routes[n].key for n in order), slots, strict=True))
    layout = msgspec.structs.replace(state.layout, slots=type(state.layout.slots)(mixed))
    running = materialise(state.config, layout)
    if lost == "entries":
        running = msgspec.structs.replace(running, maps={**running.maps, HOSTS: {}})
    if lost == "servers":
        empty = {backend: {} for backend in running.servers}  # type: ignore[var-annotated]
        running = msgspec.structs.replace(running, servers=empty)
    world.backend.running = running
    if lost == "memory":
        world.again()
    world.reconciler._process_changed()
    witness = Witness(world, own)

    await world.reconciler.step()

    assert witness.crossed == []
    for domain, (address,) in own.items():
        assert world.servers_of(domain) == [f"{address}:80"]


@pytest.mark.parametrize("also", ["entry kept", "entry lost"])
async def test_an_entry_that_leads_to_somebody_else_is_put_right_in_one_round(also: str) -> None:
    world = World()
    await world.publish(http(), http("other", "http://10.0.0.9:3000"))
    before = world.backend.running
    assert before is not None
    hosts = dict(before.maps[HOSTS])
    hosts[OTHER] = hosts[SHOP]
    if also == "entry lost":
        del hosts[SHOP]
    world.backend.running = msgspec.structs.replace(before, maps={**before.maps, HOSTS: hosts})
    witness = Witness(world, {SHOP: {"10.0.0.1"}, OTHER: {"10.0.0.9"}})
    world.reconciler._process_changed()

    await world.reconciler.step()

    assert witness.crossed == []
    assert world.servers_of(SHOP) == ["10.0.0.1:3000"]
    assert world.servers_of(OTHER) == ["10.0.0.9:3000"]


async def test_the_same_holds_for_mongodb() -> None:
    world = World()
    await world.publish(mongo("a1", "10.0.0.1"), mongo("a2", "10.0.0.2"))
    running = world.backend.running
    assert running is not None
    (one, first), (two, second) = running.maps[SNI].items()
    maps = {**running.maps, SNI: {one: second, two: first}}
    world.backend.running = msgspec.structs.replace(running, maps=maps)
    world.reconciler._process_changed()

    await world.reconciler.step()

    assert world.servers_of("a1.mongodb.example.com") == ["10.0.0.1:27017"]
    assert world.servers_of("a2.mongodb.example.com") == ["10.0.0.2:27017"]


async def test_servers_that_nobody_knows_go_before_anything_leads_to_them() -> None:
    world = World()
    await world.publish(http())
    running = world.backend.running
    assert running is not None
    slot = running.maps[HOSTS][SHOP]
    stranger = RunningServer("10.0.0.77", 80)
    servers = {**running.servers, slot: {**running.servers[slot], "unknown": stranger}}
    world.backend.running = msgspec.structs.replace(
        running, servers=servers, maps={**running.maps, HOSTS: {}}
    )
    witness = Witness(world, {SHOP: {"10.0.0.1"}})
    world.reconciler._process_changed()

    await world.reconciler.step()

    assert witness.crossed == []
    assert world.servers_of(SHOP) == ["10.0.0.1:3000"]


async def test_a_slot_whose_servers_could_not_be_cut_serves_nobody_else() -> None:
    def refuses(thing: object) -> str | None:
        return "can't" if isinstance(thing, CutServer | RetireServer) else None

    world = World(refuses=refuses)
    await world.publish(http())
    slot = world.maps(HOSTS)[SHOP]
    world.source.remove(http())
    for n in range(12):
        await world.publish(http(f"s{n}", "http://10.0.0.2:80"))

    assert slot not in [s for domain, s in world.maps(HOSTS).items() if domain != SHOP]


async def test_an_entry_that_cannot_be_dropped_is_not_reported_as_gone() -> None:
    stuck = True

    def refuses(thing: object) -> str | None:
        return "can't" if stuck and isinstance(thing, DropEntry) else None

    world = World(refuses=refuses)
    await world.publish(http())
    revision = world.source.remove(http())
    await world.reconciler.step()
    assert world.servers_of(SHOP) == ["10.0.0.1:3000"], "it does run"
    status = await world.reconciler.settle(http().key, revision, 0)
    assert status.state == RouteState.PENDING

    stuck = False
    async with world.running() as reconciler:
        assert (await reconciler.settle(http().key, revision, 10)).state == RouteState.ACTIVE
    assert world.maps(HOSTS) == {}
