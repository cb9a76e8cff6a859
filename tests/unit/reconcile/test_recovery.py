"""Whatever went wrong, everything comes back: by itself, whole, and without harm to others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from frontserver.backends.memory import MemoryBackend
from frontserver.backends.port import Leftovers, State
from frontserver.errors import (
    CommandRefusedError,
    ConfigRejectedError,
    ProxyUnavailableError,
    StorageError,
)
from frontserver.model.names import DomainName
from frontserver.model.routes import CookieName, HealthCheck, OriginTls, RouteKey
from frontserver.model.status import Health, RouteState, RouteStatus
from frontserver.planning.actions import (
    Action,
    DropEntry,
    PutCaFile,
    PutCertificate,
    PutServer,
    RetireServer,
)
from frontserver.planning.compiled import (
    HOSTS,
    HTTPS_CERTIFICATE,
    VALUES,
    Certificate,
    CompiledRoute,
    digest,
)
from frontserver.planning.layout import PoolPolicy
from frontserver.planning.plan import ReloadReason
from frontserver.planning.running import Running, RunningServer
from frontserver.reconcile.backoff import Backoff
from tests.unit.planning.routes import FRONTENDS, POLICY, http, mongo
from tests.unit.reconcile.world import QUICK, World, states, until

SHOP = "shop.apps.example.com"
ACTIVE, PENDING, FAILED = RouteState.ACTIVE, RouteState.PENDING, RouteState.FAILED
NO_CHECK = OriginTls(verify=False)
OWN_CA = OriginTls(server_name=DomainName("origin.example.com"), ca_pem="PEM")


# --- a restarted control plane, and names that don't resolve ---


async def test_a_restart_needs_no_name_server_to_know_what_runs() -> None:
    world = World()
    world.addresses = {"app.internal": ["10.0.0.5"], "b.internal": ["10.0.0.6"]}
    route = http("shop", "https://app.internal", "https://b.internal", sticky=CookieName("S"))
    async with world.running() as reconciler:
        await reconciler.settle(route.key, world.source.put(route), 5)
    running = world.backend.running
    world.addresses = {}

    await world.again().step()

    assert world.reconciler.status(route.key).state == ACTIVE
    assert world.backend.running == running


async def test_a_reload_at_restart_keeps_tls_to_an_origin_whose_name_does_not_resolve() -> None:
    """A changed template or setting brings one, before any name could be looked up."""
    world = World()
    world.addresses = {"app.internal": ["10.0.0.5"]}
    route = http("shop", "https://app.internal")
    async with world.running() as reconciler:
        await reconciler.settle(route.key, world.source.put(route), 5)
    world.addresses = {}

    await world.again(msgspec.structs.replace(FRONTENDS, templates="changed")).step()

    assert world.backend.reloads[-1] == (ReloadReason.FRONTENDS,)
    assert world.backend.persisted is not None
    (server,) = world.backend.persisted.config.routes[route.key].servers
    assert server.tls is not None
    assert world.servers_of(SHOP) == ["10.0.0.5:443"]


async def test_two_names_are_not_taken_to_have_one_address() -> None:
    world = World()
    world.addresses = {"app.internal": ["10.0.0.5"], "b.internal": ["10.0.0.6"]}
    route = http("shop", "http://app.internal", "http://b.internal")
    async with world.running() as reconciler:
        await reconciler.settle(route.key, world.source.put(route), 5)
    world.addresses = {}

    await world.again().step()

    assert world.servers_of(SHOP) == ["10.0.0.5:80", "10.0.0.6:80"]
    assert sorted(world.resolver.addresses.values()) == ["10.0.0.5", "10.0.0.6"]


async def test_a_name_is_recognised_among_servers_that_are_known_or_strange() -> None:
    world = World()
    world.addresses = {"app.internal": ["10.0.0.5"]}
    route = http("shop", "http://10.0.0.9:80", "http://app.internal:81")
    async with world.running() as reconciler:
        await reconciler.settle(route.key, world.source.put(route), 5)
    world.addresses = {}

    await world.again().step()

    assert world.resolver.addresses == {"app.internal": "10.0.0.5"}


async def test_what_is_only_known_by_its_address_is_not_guessed_by_a_reload() -> None:
    """It could be plain text to a TLS origin: rather no server, under a status that says so."""
    world = World()
    await world.publish(http("shop", "https://10.0.0.5", origin_tls=NO_CHECK))
    await world.publish(http("shop", "https://nowhere.internal"))
    await world.reconciler.remember()

    await world.again().step()
    assert world.servers_of(SHOP) == ["10.0.0.5:443"], "it goes on as it is"
    await world.again(msgspec.structs.replace(FRONTENDS, templates="changed")).step()

    assert world.servers_of(SHOP) == []
    assert world.reconciler.status(http().key).state == PENDING


def name_of_48_bits(pem: str) -> str:
    """As an earlier release named a route's CA bundle."""
    return f"certs/ca-{digest(pem)}.pem"


@pytest.mark.parametrize("url", ["https://10.0.0.5", "https://app.internal"])
async def test_a_ca_bundle_that_an_earlier_release_named_gives_way_gracefully(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    world.addresses = {"app.internal": ["10.0.0.5"]}
    route = http("shop", url, origin_tls=OWN_CA)
    with monkeypatch.context() as earlier:
        earlier.setattr("frontserver.planning.compile.ca_name", name_of_48_bits)
        async with world.running() as reconciler:
            await reconciler.settle(route.key, world.source.put(route), 5)
    slot = world.maps(HOSTS)[SHOP]
    assert world.backend.running is not None
    (old,) = world.backend.running.servers[slot]
    world.backend.performed.clear()

    await world.again().step()

    (compiled,) = world.reconciler._applied.config.routes.values()
    (server,), (ca,) = compiled.servers, compiled.ca_files
    assert ca.name != name_of_48_bits("PEM")
    assert world.backend.performed == [
        PutCaFile(ca),
        PutServer(slot, server),
        RetireServer(slot, old),
    ]
    assert world.maps(HOSTS) == {SHOP: slot}
    assert world.backend.reloads == []


async def test_a_name_is_recognised_by_a_server_with_a_ca_bundle_of_an_earlier_release(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An update may bring other templates too, and with them a reload before names are known."""
    world = World()
    world.addresses = {"app.internal": ["10.0.0.5"]}
    route = http("shop", "https://app.internal", origin_tls=OWN_CA)
    with monkeypatch.context() as earlier:
        earlier.setattr("frontserver.planning.compile.ca_name", name_of_48_bits)
        async with world.running() as reconciler:
            await reconciler.settle(route.key, world.source.put(route), 5)
    world.addresses = {}

    await world.again(msgspec.structs.replace(FRONTENDS, templates="changed")).step()

    assert world.backend.reloads[-1] == (ReloadReason.FRONTENDS,)
    assert world.servers_of(SHOP) == ["10.0.0.5:443"]


@pytest.mark.parametrize("quick", [True, False])
async def test_a_restart_leaves_a_name_on_an_address_that_it_still_has(quick: bool) -> None:
    """Whether its answer comes before or after it is seen what HAProxy runs."""
    world = World()
    world.addresses = {"app.internal": ["10.0.0.5"]}
    route = http("shop", "http://app.internal")
    async with world.running() as reconciler:
        await reconciler.settle(route.key, world.source.put(route), 5)
    world.addresses = {"app.internal": ["10.0.0.3", "10.0.0.5"]}
    start, lookup = world.backend.start, world._lookup
    looked_up, observed = asyncio.Event(), asyncio.Event()
    world.again()

    async def slow_start(empty: State) -> None:
        for _ in range(50):
            await asyncio.sleep(0)
        await start(empty)

    async def slow_lookup(host: str) -> list[str]:
        if not quick:
            await observed.wait()
        looked_up.set()
        return await lookup(host)

    world.backend.start = slow_start  # type: ignore[method-assign]
    world.resolver._lookup = slow_lookup
    async with world.running() as reconciler:
        await until(lambda: reconciler.proxy_status().in_step)
        observed.set()
        await until(lambda: looked_up.is_set() and not reconciler._lookups._tasks)
        # Whatever is to be done is done by then.
        revision = world.source.put(mongo())
        reconciler.wake()
        assert (await reconciler.settle(mongo().key, revision, 5)).state == ACTIVE

        assert world.servers_of(SHOP) == ["10.0.0.5:80"]


async def test_a_restart_follows_a_name_whose_address_changed_meanwhile() -> None:
    """At once, not when names are looked up again the next time."""
    world = World()
    world.addresses = {"app.internal": ["10.0.0.5"]}
    route = http("shop", "http://app.internal")
    async with world.running() as reconciler:
        await reconciler.settle(route.key, world.source.put(route), 5)
    world.addresses = {"app.internal": ["10.0.0.6"]}

    world.again()
    async with world.running():
        await until(lambda: world.servers_of(SHOP) == ["10.0.0.6:80"])


async def test_a_new_name_is_looked_up_once_a_haproxy_that_was_away_is_there() -> None:
    world = World()
    world.addresses = {"app.internal": ["10.0.0.5"]}
    world.backend.down = True
    route = http("shop", "http://app.internal")
    async with world.running() as reconciler:
        revision = world.source.put(route)
        reconciler.wake()
        await until(lambda: "HAProxy" in (reconciler.status(route.key).reason or ""))
        world.backend.down = False

        assert (await reconciler.settle(route.key, revision, 5)).state == ACTIVE


async def test_a_certificate_renewed_while_the_control_plane_was_away_is_served() -> None:
    world = World()
    world.certificates = (Certificate(HTTPS_CERTIFICATE, "old"),)
    await world.reconciler.step()
    world.certificates = (Certificate(HTTPS_CERTIFICATE, "new"),)
    world.backend.performed.clear()

    await world.again().step()

    assert PutCertificate(Certificate(HTTPS_CERTIFICATE, "new")) in world.backend.performed


# --- refusals that must not stop everybody ---


async def test_a_certificate_that_haproxy_refuses_stops_no_route() -> None:
    def refuses(thing: object) -> str | None:
        bad = isinstance(thing, PutCertificate) and thing.certificate.pem == "bad"
        return "unable to load certificate" if bad else None

    world = World(refuses=refuses)
    world.certificates = (Certificate(HTTPS_CERTIFICATE, "good"),)
    await world.reconciler.step()
    world.certificates = (Certificate(HTTPS_CERTIFICATE, "bad"),)

    statuses = await world.publish(http(), http("other", sticky=CookieName("A")))

    assert states(statuses) == [ACTIVE, ACTIVE]
    assert world.backend.persisted is not None
    assert world.backend.persisted.config.certificates[0].pem == "good"
    world.certificates = (Certificate(HTTPS_CERTIFICATE, "better"),)
    await world.reconciler.step()
    assert PutCertificate(Certificate(HTTPS_CERTIFICATE, "better")) in world.backend.performed


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_certificate_that_was_refused_is_tried_again(*, restarted: bool) -> None:
    """It may have been something that passes, such as a full disk."""
    reason: list[str] = []

    def refuses(thing: object) -> str | None:
        return reason[0] if reason and isinstance(thing, PutCertificate) else None

    world = World(refuses=refuses)
    world.certificates = (Certificate(HTTPS_CERTIFICATE, "old"),)
    await world.reconciler.step()
    await world.again().step()
    world.certificates = (Certificate(HTTPS_CERTIFICATE, "new"),)
    reason.append("no space left on device")
    reconciler = world.again() if restarted else world.reconciler
    await reconciler.step()
    (warning,) = reconciler.proxy_status().warnings
    assert "no space left on device" in warning
    reason.clear()
    await reconciler.step()
    assert _served(world) == "old", "not at each round"

    await reconciler._retry_refused()
    await reconciler.step()

    assert _served(world) == "new"
    assert reconciler.proxy_status().warnings == ()
    world.backend.performed.clear()
    await reconciler._retry_refused()
    await reconciler.step()
    assert world.backend.performed == []


async def test_nobody_is_warned_of_a_certificate_that_is_wanted_no_more() -> None:
    world = World()
    old, new = (Certificate(HTTPS_CERTIFICATE, pem) for pem in ("old", "new"))
    world.backend.refuses = lambda thing: "no" if thing == PutCertificate(new) else None
    for certificate in (old, new):
        world.certificates = (certificate,)
        await world.reconciler.step()
    assert world.reconciler.proxy_status().warnings

    world.certificates = (old,)
    await world.reconciler.step()

    assert world.reconciler.proxy_status().warnings == ()


def _served(world: World) -> str:
    """The certificate that HAProxy was given last."""
    return [a.certificate.pem for a in world.backend.performed if isinstance(a, PutCertificate)][-1]


@pytest.mark.parametrize("bad", [DropEntry, RetireServer])
async def test_a_stray_that_cannot_be_cleared_away_stops_no_route(bad: type[Action]) -> None:
    world = World(refuses=lambda thing: "can't" if isinstance(thing, bad) else None)
    await world.publish(http())
    running = world.backend.running
    assert running is not None
    free = next(slot for slot, servers in running.servers.items() if not servers)
    world.backend.running = msgspec.structs.replace(
        running,
        servers={**running.servers, free: {"x": RunningServer("10.0.0.9", 1)}},
        maps={**running.maps, VALUES: {"nowhere/x": "1"}},
    )
    world.reconciler._process_changed()

    (status,) = await world.publish(http("other"))

    assert status.state == ACTIVE


async def test_a_route_that_cannot_be_compiled_fails_alone() -> None:
    world = World()
    world.resolver.addresses["odd.internal"] = "not an address"

    bad, good = await world.publish(http("bad", "http://odd.internal"), http("good"))

    assert (bad.state, good.state) == (FAILED, ACTIVE)


async def test_values_that_cannot_be_dropped_yet_do_not_stop_the_sweep() -> None:
    world = World(refuses=lambda thing: "can't" if _drops_a_value(thing) else None)
    route = http(check=HealthCheck(path="/up"))
    await world.publish(route, http("other"))
    world.source.remove(route)
    await world.reconciler.step()

    (status,) = await world.publish(http("third"))

    assert status.state == ACTIVE
    assert not world.reconciler._applied.anything_rests


class Left(MemoryBackend):
    """A route's former server waits for its last stream."""

    leaves = True

    @property
    def anything_leaves(self) -> bool:
        return self.leaves

    async def idle(self, backends: Sequence[str]) -> frozenset[str]:
        self.leaves = False
        return await super().idle(backends)


async def test_servers_that_a_change_left_are_deleted_though_no_slot_rests() -> None:
    world = World(timing=msgspec.structs.replace(QUICK, leaving=0.01))
    backend = world.backend = Left()
    world.again()
    await world.publish(http())
    backend.leaves = True
    async with world.running() as reconciler:
        assert not reconciler._applied.anything_rests
        await until(lambda: not backend.leaves)


def _drops_a_value(thing: object) -> bool:
    return isinstance(thing, DropEntry) and thing.map == VALUES


async def test_a_refused_route_costs_no_reload() -> None:
    """Each would leave an old worker behind, for one tenant's mistake."""
    world = World(refuses=_refuses_cookies("BAD"))
    await world.publish(http())

    for number in range(3):
        (status,) = await world.publish(http("bad", sticky=CookieName(f"BAD{number}")))
        assert status.state == FAILED

    assert world.backend.reloads == []


async def test_many_refused_routes_among_good_ones_cost_one_reload() -> None:
    world = World(refuses=_refuses_cookies("BAD"))
    await world.reconciler.step()
    routes = [http(f"s{n}", sticky=CookieName(f"{'BAD' if n % 3 else 'C'}{n}")) for n in range(9)]

    statuses = await world.publish(*routes)

    assert states(statuses) == [FAILED if n % 3 else ACTIVE for n in range(9)]
    assert len(world.backend.reloads) == 1


async def test_what_only_the_reload_refuses_is_found_too() -> None:
    """Somebody else's HAProxy may have no other judge."""
    world = World(refuses=_refuses_cookies("BAD"))
    await world.publish(http())
    judge = world.backend.check

    async def accepts(state: State, changed: object) -> None: ...

    async def reload(state: State, *rest: Any) -> None:
        await judge(state)
        await MemoryBackend.reload(world.backend, state, *rest)

    world.backend.check = accepts  # type: ignore[method-assign]
    world.backend.reload = reload  # type: ignore[method-assign]

    statuses = await world.publish(
        http("bad", sticky=CookieName("BAD")), http("good", sticky=CookieName("C"))
    )

    assert states(statuses) == [FAILED, ACTIVE]
    assert world.servers_of("good.apps.example.com") != []


def _refuses_cookies(prefix: str) -> Callable[[object], str | None]:
    def refuses(thing: object) -> str | None:
        cookie = thing.profile.cookie if isinstance(thing, CompiledRoute) else None
        return "unknown keyword" if (cookie or "").startswith(prefix) else None

    return refuses


# --- refusals that don't last ---


async def test_what_was_refused_is_tried_again_with_another_version() -> None:
    old = True
    world = World(refuses=lambda thing: "unknown keyword" if old and _is_bad(thing) else None)
    (status,) = await world.publish(http("bad", "http://10.0.0.66:1"))
    assert status.state == FAILED

    old, world.backend._version = False, "newer"
    world.reconciler._process_changed()
    await world.reconciler.step()

    assert world.reconciler.status(http("bad").key).state == ACTIVE


async def test_what_was_refused_is_tried_again_from_time_to_time() -> None:
    short = True
    world = World(
        refuses=lambda thing: "out of memory" if short and _is_bad(thing) else None,
        timing=msgspec.structs.replace(QUICK, refused=0.01),
    )
    async with world.running() as reconciler:
        revision = world.source.put(http("bad", "http://10.0.0.66:1"))
        reconciler.wake()
        status = await reconciler.settle(http("bad").key, revision, 5)
        assert status.state == FAILED
        short = False
        await until(lambda: reconciler.status(http("bad").key).state == ACTIVE)


def _is_bad(thing: object) -> bool:
    return isinstance(thing, PutServer) and thing.server.address == "10.0.0.66"


async def test_refused_routes_do_not_use_up_the_pool() -> None:
    world = World(refuses=lambda thing: "no" if _is_bad(thing) else None)

    for number in range(20):
        await world.publish(http(f"s{number}", "http://10.0.0.66:1"))

    assert world.backend.reloads == []


# --- reloads that fail ---


class Broken:
    """A backend whose reloads fail as long as `error` is set."""

    def __init__(self, world: World, error: Exception) -> None:
        self.error: Exception | None = error
        self.attempts = 0
        self._reload = world.backend.reload
        world.backend.reload = self.reload  # type: ignore[method-assign]

    async def reload(self, *arguments: Any) -> None:
        self.attempts += 1
        if self.error is not None:
            raise self.error
        await self._reload(*arguments)


@pytest.mark.parametrize(
    "error",
    [
        ProxyUnavailableError("the master doesn't answer"),
        StorageError("no space left"),
        ConfigRejectedError("the port is taken"),
        RuntimeError("unexpected"),
    ],
)
async def test_a_reload_that_fails_holds_up_nobody_who_needs_none(error: Exception) -> None:
    world = World(
        policy=PoolPolicy(POLICY.standard, spare=64),
        timing=msgspec.structs.replace(QUICK, least_pause=0.01, most_pause=30),
    )
    await world.reconciler.step()
    broken = Broken(world, error)
    world.reconciler._reloads._backoff = Backoff(3600, 3600, time.monotonic)
    async with world.running() as reconciler:
        needy = world.source.put(http("needy", sticky=CookieName("A")))
        reconciler.wake()
        await until(lambda: broken.attempts > 0)
        await until(lambda: reconciler.status(http("needy").key).reason is not None)
        for number in range(20):
            key = http(f"s{number}").key
            revision = world.source.put(http(f"s{number}"))
            reconciler.wake()
            status = await reconciler.settle(key, revision, 2)
            assert status.state == ACTIVE
        assert reconciler.status(http("needy").key).state == PENDING
        assert broken.attempts <= 2, "and not every change tries it again"

        broken.error = None
        world.reconciler._reloads._backoff.succeeded()
        reconciler.wake()
        assert (await reconciler.settle(http("needy").key, needy, 5)).state == ACTIVE


async def test_routes_that_went_live_beside_a_failed_reload_stay_active() -> None:
    world = World()
    await world.reconciler.step()
    Broken(world, ConfigRejectedError("the port is taken"))
    world.source.put(http(), http("needy", sticky=CookieName("A")))

    with pytest.raises(ConfigRejectedError):
        await world.reconciler.step()
    world.reconciler._failed(ConfigRejectedError("the port is taken"), "the port is taken")

    assert world.reconciler.status(http().key).state == ACTIVE
    assert world.reconciler.status(http("needy").key).state == PENDING


async def test_a_failed_reload_is_shown_until_it_works_or_is_not_needed() -> None:
    world = World(timing=msgspec.structs.replace(QUICK, most_pause=0.05))
    async with world.running() as reconciler:
        await until(lambda: reconciler.proxy_status().in_step)
        broken = Broken(world, ConfigRejectedError("the port is taken"))
        revision = world.source.put(http("needy", sticky=CookieName("A")))
        reconciler.wake()
        await until(lambda: "port is taken" in (reconciler.proxy_status().reason or ""))
        assert (await reconciler.settle(http("needy").key, revision, 0)).state == PENDING

        world.source.remove(http("needy"))
        reconciler.wake()
        await until(lambda: reconciler.proxy_status().in_step)
        assert broken.error is not None


# --- what HAProxy turns out to run ---


class Unknown:
    """HAProxy runs a configuration that isn't known here, until it is reloaded."""

    def __init__(self, world: World) -> None:
        self.backend = world.backend
        self.seen: list[State] = []
        self._reload, self._observe = world.backend.reload, world.backend.observe
        self._persist = world.backend.persist
        world.backend.observe = self.observe  # type: ignore[method-assign]
        world.backend.reload = self.reload  # type: ignore[method-assign]
        world.backend.persist = self.persist  # type: ignore[assignment, method-assign]

    async def observe(self) -> Running:
        return Running(frontends=None, pools={}, servers={}, maps={})

    async def reload(self, state: State, *rest: Any) -> None:
        await self._reload(state, *rest)
        self.seen.append(state)
        self.backend.observe = self._observe  # type: ignore[method-assign]

    async def persist(self, state: State, steps: object) -> None:
        self.seen.append(state)
        await self._persist(state, None)


@pytest.mark.parametrize("restarted", [True, False])
async def test_an_unknown_configuration_is_replaced_by_everything_at_once(restarted: bool) -> None:
    """Also if one route is refused then: the others aren't gone meanwhile, nor from disk."""
    poisoned = False

    def refuses(thing: object) -> str | None:
        bad = isinstance(thing, CompiledRoute) and thing.key.name == "s5"
        return "unknown keyword" if poisoned and bad else None

    world = World(refuses=refuses)
    await world.publish(*(http(f"s{n}") for n in range(8)))
    poisoned = True
    unknown = Unknown(world)
    if restarted:
        world.again()
    world.reconciler._process_changed()

    await world.reconciler.step()

    assert [len(state.config.routes) for state in unknown.seen] == [7]
    assert len(world.maps(HOSTS)) == 7
    assert world.reconciler.status(http("s5").key).state == FAILED


async def test_pools_that_shrank_are_noticed() -> None:
    """HAProxy came back with an older configuration, which had fewer slots."""
    world = World(policy=PoolPolicy(POLICY.standard, spare=5))
    await world.publish(http())
    older = world.backend.persisted
    for number in range(8):
        await world.publish(http(f"s{number}"))
    for number in range(8):
        world.source.remove(http(f"s{number}"))
    await world.reconciler.step()
    world.backend.persisted = older
    world.backend.crash()

    statuses = await world.publish(*(http(f"n{number}") for number in range(8)))

    assert states(statuses) == [ACTIVE] * 8


async def test_a_resting_backend_that_is_gone_stops_nothing() -> None:
    """HAProxy came back without the profile that it belonged to."""
    world = World()
    await world.publish(http())
    older = world.backend.persisted
    route = http("other", sticky=CookieName("A"))
    await world.publish(route, *(http(f"s{n}", sticky=CookieName("A")) for n in range(5)))
    idle = world.backend.idle

    async def strict(backends: Sequence[str]) -> frozenset[str]:
        assert world.backend.running is not None
        for backend in backends:
            if backend not in world.backend.running.servers:
                raise CommandRefusedError("show servers state", "Can't find backend.")
        return frozenset() if busy else await idle(backends)

    busy = True
    world.backend.idle = strict  # type: ignore[method-assign]
    world.source.remove(route)
    await world.reconciler.step()
    assert world.reconciler._applied.anything_rests
    busy = False
    for number in range(5):
        world.source.remove(http(f"s{number}"))
    world.backend.persisted = older
    world.backend.crash()

    async with world.running() as reconciler:
        revision = world.source.put(mongo())
        reconciler.wake()
        assert (await reconciler.settle(mongo().key, revision, 5)).state == ACTIVE
        await until(lambda: reconciler.proxy_status().in_step)
        assert world.maps(HOSTS).keys() == {SHOP}


async def test_a_haproxy_that_is_replaced_while_it_is_looked_at_is_looked_at_again() -> None:
    world = World()
    await world.publish(http())
    observe = world.backend.observe
    calls = 0

    async def replaced_meanwhile() -> Running:
        nonlocal calls
        calls += 1
        running = await observe()
        if calls == 1:
            world.backend.persisted = None
            world.backend.running = msgspec.structs.replace(
                running, maps={**running.maps, HOSTS: {}}
            )
            world.reconciler._process_changed()
        return running

    world.backend.observe = replaced_meanwhile  # type: ignore[method-assign]
    world.reconciler._process_changed()
    async with world.running():
        await until(lambda: world.servers_of(SHOP) == ["10.0.0.1:3000"])


async def test_health_is_unknown_again_without_a_check() -> None:
    world = World()
    await world.publish(http(check=HealthCheck()))
    await world.again().step()
    assert world.reconciler.status(http().key).health == Health.UP

    await world.publish(http())
    world.reconciler._process_changed()
    await world.reconciler.step()

    assert world.reconciler.status(http().key).health == Health.UNKNOWN


# --- while HAProxy is away ---


async def test_nothing_is_active_while_haproxy_is_away() -> None:
    world = World(timing=msgspec.structs.replace(QUICK, drift=0.01))
    async with world.running() as reconciler:
        revision = world.source.put(http())
        reconciler.wake()
        assert (await reconciler.settle(http().key, revision, 5)).state == ACTIVE
        world.backend.down = True
        await until(lambda: reconciler.status(http().key).state == PENDING)
        assert "doesn't answer" in (reconciler.status(http().key).reason or "")
        assert reconciler.proxy_status().counts == {"active": 0, "pending": 1, "failed": 0}
        waiting = asyncio.create_task(reconciler.settle(http().key, revision, 5))

        world.backend.down = False
        assert (await waiting).state == ACTIVE


# --- looks that go wrong ---


async def test_an_error_in_a_regular_look_ends_nothing() -> None:
    world = World(timing=msgspec.structs.replace(QUICK, names=0.001, statuses=0.001))
    calls = {"lookup": 0, "save": 0}

    async def lookup(host: str) -> list[str]:
        calls["lookup"] += 1
        raise ValueError("odd")

    async def save(node: str, statuses: Mapping[RouteKey, RouteStatus]) -> None:
        calls["save"] += 1
        raise ValueError("odd")

    world.resolver._lookup = lookup
    world.source.save_statuses = save  # type: ignore[method-assign]
    async with world.running() as reconciler:
        world.source.put(http("odd", "http://odd.internal"))
        revision = world.source.put(http())
        reconciler.wake()
        assert (await reconciler.settle(http().key, revision, 5)).state == ACTIVE
        await until(lambda: min(calls.values()) > 3)
        revision = world.source.put(http("another"))
        reconciler.wake()
        assert (await reconciler.settle(http("another").key, revision, 5)).state == ACTIVE


async def test_an_unexpected_error_in_a_round_is_not_the_end() -> None:
    world = World()
    snapshot = world.source.snapshot
    calls = 0

    async def odd() -> object:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise ValueError("odd")
        return await snapshot()

    world.source.snapshot = odd  # type: ignore[assignment, method-assign]
    async with world.running() as reconciler:
        revision = world.source.put(http())
        assert (await reconciler.settle(http().key, revision, 5)).state == ACTIVE


async def test_statuses_that_could_not_be_stored_are_stored_later() -> None:
    world = World()
    await world.publish(http())
    world.source.broken = True
    await world.reconciler.remember()
    assert world.source.saved == {}

    world.source.broken = False
    await world.reconciler.remember()
    await world.reconciler.remember()

    assert world.source.saved[http().key].state == ACTIVE


async def test_a_name_that_nobody_wants_any_more_is_forgotten() -> None:
    world = World()
    asked = asyncio.Event()
    answer = asyncio.Event()

    async def lookup(host: str) -> list[str]:
        asked.set()
        await answer.wait()
        return ["10.0.0.5"]

    world.resolver._lookup = lookup
    await world.publish(http("shop", "http://app.internal"))
    async with asyncio.timeout(5):
        await asked.wait()
    await world.publish(http())
    answer.set()
    await until(lambda: not world.reconciler._lookups._tasks)

    assert world.resolver.addresses == {}


@pytest.mark.parametrize("ticks", range(4))
async def test_it_ends_when_told_to_even_if_it_is_woken_in_that_moment(ticks: int) -> None:
    world = World(timing=msgspec.structs.replace(QUICK, sweep=60))
    await world.publish(http())

    async def busy(backends: Sequence[str]) -> frozenset[str]:
        return frozenset()

    world.backend.idle = busy  # type: ignore[assignment, method-assign]
    world.source.remove(http())
    task = asyncio.create_task(world.reconciler.run())
    await until(lambda: world.reconciler._applied.anything_rests)
    await until(lambda: world.reconciler.proxy_status().in_step)
    await asyncio.sleep(0.01)

    world.reconciler.wake()
    for _ in range(ticks):
        await asyncio.sleep(0)
    task.cancel()

    await asyncio.wait({task}, timeout=5)
    ended = task.done()
    task.cancel()
    assert ended


async def test_the_last_statuses_are_stored_at_the_end_if_they_can_be() -> None:
    world = World()
    async with world.running() as reconciler:
        revision = world.source.put(http())
        reconciler.wake()
        await reconciler.settle(http().key, revision, 5)
        reconciler.board.take_unsaved()
        assert world.source.saved == {}
        await reconciler.settle(mongo().key, world.source.put(mongo()), 0)
        reconciler.wake()
        await until(lambda: reconciler.status(mongo().key).state == ACTIVE)
    assert world.source.saved.keys() == {mongo().key}

    async def odd(node: str, statuses: object) -> None:
        raise ValueError("odd")

    world.source.save_statuses = odd  # type: ignore[assignment, method-assign]
    async with world.running() as reconciler:
        await until(lambda: reconciler.proxy_status().in_step)
        reconciler.board.set(http().key, RouteStatus(FAILED, 9))


async def test_a_lookup_under_way_ends_with_everything_else() -> None:
    world = World()

    async def lookup(host: str) -> list[str]:
        await asyncio.Event().wait()
        return []

    world.resolver._lookup = lookup
    async with world.running() as reconciler:
        world.source.put(http("shop", "http://slow.internal"))
        reconciler.wake()
        await until(lambda: bool(reconciler._lookups._tasks))
        (task,) = reconciler._lookups._tasks.values()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()


async def test_an_unknown_configuration_is_left_alone_if_only_reloads_tell_what_is_refused() -> (
    None
):
    """Loading a part to find the culprit would cut all others."""
    poisoned = False
    world = World(refuses=lambda thing: _refuses_cookies("BAD")(thing) if poisoned else None)
    await world.publish(http(), http("bad", sticky=CookieName("BAD")))
    poisoned = True
    unknown = Unknown(world)
    judge, load = world.backend.check, world.backend.reload

    async def accepts(state: State, changed: object) -> None: ...

    async def reload(state: State, *rest: Any) -> None:
        await judge(state)
        await load(state, *rest)

    world.backend.check = accepts  # type: ignore[method-assign]
    world.backend.reload = reload  # type: ignore[method-assign]
    world.reconciler._process_changed()

    with pytest.raises(ConfigRejectedError):
        await world.reconciler.step()

    assert unknown.seen == []


async def test_a_restart_leaves_a_route_alone_whose_change_waits_for_a_reload() -> None:
    """Nobody else can have had its name since."""
    world = World(budget=1)
    world.backend.old_workers = Leftovers(3, 1 << 30)
    await world.publish(http())
    changed = http("shop", "http://10.0.0.2:1", sticky=CookieName("NEW"))
    (status,) = await world.publish(changed)
    assert status.state == RouteState.PENDING
    await world.reconciler.remember()
    world.backend.performed.clear()

    await world.again().step()

    assert world.servers_of("shop.apps.example.com") == ["10.0.0.1:3000"]
    assert world.backend.performed == []


async def test_a_restart_takes_out_what_runs_under_a_name_that_was_given_away() -> None:
    world = World(budget=1)
    world.backend.old_workers = Leftovers(3, 1 << 30)
    await world.publish(http())
    await world.reconciler.remember()
    world.source.remove(http())
    world.source.put(http("shop", "http://10.0.0.2:1", sticky=CookieName("NEW")))

    await world.again().step()

    assert world.servers_of("shop.apps.example.com") == []
