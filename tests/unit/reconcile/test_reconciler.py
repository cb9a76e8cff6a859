"""The reconciler, over a HAProxy of dictionaries."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from frontserver.errors import ConfigRejectedError, ProxyUnavailableError
from frontserver.model.names import DomainName
from frontserver.model.routes import CookieName, HealthCheck
from frontserver.model.status import Health, RouteState
from frontserver.planning.actions import PutCertificate, PutServer
from frontserver.planning.compiled import (
    HOSTS,
    HTTPS_CERTIFICATE,
    Certificate,
    CompiledRoute,
)
from frontserver.planning.layout import PoolPolicy
from frontserver.planning.plan import ReloadReason
from frontserver.planning.running import RunningServer
from tests.unit.planning.routes import POLICY, http, mongo
from tests.unit.reconcile.world import QUICK, World, states, until

SHOP = "shop.apps.example.com"
ACTIVE, PENDING, FAILED = RouteState.ACTIVE, RouteState.PENDING, RouteState.FAILED


async def test_ordinary_routes_go_live_without_a_reload() -> None:
    world = World()

    statuses = await world.publish(http(), mongo())

    assert states(statuses) == [ACTIVE, ACTIVE]
    assert [status.revision for status in statuses] == [1, 2]
    assert world.servers_of(SHOP) == ["10.0.0.1:3000"]
    assert world.servers_of("a1.mongodb.example.com") == ["10.0.0.1:27017"]
    assert world.backend.reloads == []


async def test_an_update_replaces_the_server_and_a_removal_takes_all_away() -> None:
    world = World()
    await world.publish(http())

    await world.publish(http("shop", "http://10.0.0.2:3000"))
    assert world.servers_of(SHOP) == ["10.0.0.2:3000"]

    revision = world.source.remove(http())
    await world.reconciler.step()
    assert world.maps(HOSTS) == {}
    settled = await world.reconciler.settle(http().key, revision, 0)
    assert settled.state == ACTIVE


async def test_an_unknown_profile_costs_one_reload_for_all_who_wait() -> None:
    world = World()
    await world.reconciler.step()

    statuses = await world.publish(
        http("one", sticky=CookieName("A")), http("two", sticky=CookieName("B")), http("three")
    )

    assert states(statuses) == [ACTIVE] * 3
    assert world.backend.reloads == [(ReloadReason.NEW_PROFILE,)]


async def test_a_pool_is_refilled_before_it_runs_dry() -> None:
    world = World(policy=PoolPolicy(POLICY.standard, spare=5))

    for number in range(20):
        (status,) = await world.publish(http(f"s{number}"))
        assert status.state == ACTIVE

    assert world.backend.reloads
    assert set(world.backend.reloads) == {(ReloadReason.POOL_REFILL,)}


async def test_what_haproxy_refuses_at_run_time_fails_alone() -> None:
    def refuses(thing: object) -> str | None:
        bad = isinstance(thing, PutServer) and thing.server.address == "10.0.0.66"
        return "the server is cursed" if bad else None

    world = World(refuses=refuses)

    bad, good = await world.publish(http("bad", "http://10.0.0.66:1"), http("good"))

    assert (bad.state, good.state) == (FAILED, ACTIVE)
    assert bad.reason is not None
    assert "the server is cursed" in bad.reason
    assert "bad.apps.example.com" not in world.maps(HOSTS)


async def test_more_checks_than_haproxy_has_files_for_fail_alone() -> None:
    world = World()
    world.backend.most_checks = 2
    first, second, plain = await world.publish(
        http("a", check=HealthCheck()), http("b", check=HealthCheck()), http("c")
    )
    assert {first.state, second.state, plain.state} == {ACTIVE}

    (third,) = await world.publish(http("d", check=HealthCheck()))
    assert third.state == FAILED
    assert third.reason is not None
    assert "LimitNOFILE" in third.reason
    (changed,) = await world.publish(http("c", check=HealthCheck()))
    assert changed.state == FAILED
    assert world.servers_of("c.apps.example.com") == ["10.0.0.1:3000"]

    (moved,) = await world.publish(http("b", "http://10.0.0.3:3000", check=HealthCheck()))
    assert moved.state == ACTIVE
    world.source.remove(http("a"))
    (third,) = await world.publish(http("d", check=HealthCheck()))
    assert third.state == ACTIVE


async def test_those_beyond_get_their_turn_once_there_is_room() -> None:
    world = World(timing=msgspec.structs.replace(QUICK, refused=0.01))
    world.backend.most_checks = 1
    await world.publish(http("a", check=HealthCheck()), http("b", check=HealthCheck()))
    assert world.reconciler.status(http("b").key).state == FAILED
    world.source.remove(http("a"))
    async with world.running():
        await until(lambda: world.reconciler.status(http("b").key).state == ACTIVE)


async def test_a_refused_update_leaves_what_ran_before() -> None:
    def refuses(thing: object) -> str | None:
        bad = isinstance(thing, PutServer) and thing.server.address == "10.0.0.66"
        return "no" if bad else None

    world = World(refuses=refuses)
    await world.publish(http())

    (status,) = await world.publish(http("shop", "http://10.0.0.66:1"))
    assert status.state == FAILED
    assert world.servers_of(SHOP) == ["10.0.0.1:3000"]

    (status,) = await world.publish(http("shop", "http://10.0.0.3:3000"))
    assert status.state == ACTIVE
    assert world.servers_of(SHOP) == ["10.0.0.3:3000"]


@pytest.mark.parametrize("culprits", [{"s0"}, {"s3"}, {"s6"}, {"s1", "s4"}, {"s2", "s3", "s6"}])
async def test_routes_that_a_reload_refuses_are_found_among_many(culprits: set[str]) -> None:
    def refuses(thing: object) -> str | None:
        bad = isinstance(thing, CompiledRoute) and thing.key.name in culprits
        return "unknown keyword" if bad else None

    world = World(refuses=refuses)
    await world.reconciler.step()
    routes = [http(f"s{n}", sticky=CookieName(f"C{n}")) for n in range(7)]

    statuses = await world.publish(*routes)

    failed = {
        route.subdomain
        for route, status in zip(routes, statuses, strict=True)
        if status.state == FAILED
    }
    assert failed == culprits
    assert {domain.partition(".")[0] for domain in world.maps(HOSTS)} == {
        f"s{n}" for n in range(7)
    } - culprits


async def test_when_everything_is_refused_no_route_is_blamed() -> None:
    world = World()
    await world.reconciler.step()
    broken = True

    async def reload(*arguments: Any) -> None:
        if broken:
            raise ConfigRejectedError("the template is broken")
        await MemoryReload(*arguments)

    MemoryReload = world.backend.reload  # noqa: N806
    world.backend.reload = reload  # type: ignore[assignment, method-assign]
    world.source.put(http("shop", sticky=CookieName("A")))

    with pytest.raises(ConfigRejectedError):
        await world.reconciler.step()
    assert world.reconciler.status(http().key).state == PENDING

    broken = False
    async with world.running() as reconciler:
        await until(lambda: reconciler.status(http().key).state == ACTIVE)


async def test_routes_posted_while_haproxy_is_down_wait_and_then_go_live() -> None:
    world = World()
    async with world.running() as reconciler:
        await until(lambda: reconciler.proxy_status().reachable)
        world.backend.down = True

        revision = world.source.put(http())
        reconciler.wake()
        status = await reconciler.settle(http().key, revision, 0.05)
        assert status.state == PENDING
        await until(lambda: not reconciler.proxy_status().reachable)
        assert not reconciler.proxy_status().in_step

        world.backend.down = False
        status = await reconciler.settle(http().key, revision, 5)
        assert status.state == ACTIVE
        await until(lambda: reconciler.proxy_status().in_step)


async def test_a_database_that_is_gone_for_a_while_disturbs_nothing() -> None:
    world = World()
    async with world.running() as reconciler:
        await world.reconciler.settle(http().key, world.source.put(http()), 5)
        world.source.broken = True
        reconciler.wake()
        await until(lambda: reconciler.proxy_status().reason == "the database is locked")
        assert world.servers_of(SHOP) == ["10.0.0.1:3000"]

        world.source.broken = False
        revision = world.source.put(mongo())
        assert (await reconciler.settle(mongo().key, revision, 5)).state == ACTIVE


async def test_a_problem_that_isn_t_haproxys_absence_doesn_t_count_as_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reload that is refused, say: HAProxy answers, and runs what it ran."""
    world = World()

    async def reload(*arguments: object) -> None:
        raise ConfigRejectedError("the port is taken")

    async with world.running() as reconciler:
        await until(lambda: reconciler.proxy_status().in_step)
        monkeypatch.setattr(world.backend, "reload", reload)
        world.source.put(http("shop", sticky=CookieName("A")))
        reconciler.wake()
        await until(lambda: "taken" in (reconciler.proxy_status().reason or ""))
        status = reconciler.proxy_status()

    assert (status.reachable, status.in_step) == (True, False)


async def test_a_hint_is_for_operators_and_not_for_agents(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()

    async def away() -> None:
        raise ProxyUnavailableError("nobody answers", hint="start it")

    async with world.running() as reconciler:
        await until(lambda: reconciler.proxy_status().in_step)
        monkeypatch.setattr(world.backend, "observe", away)
        world.backend.crash()
        await until(lambda: not reconciler.proxy_status().in_step)
        revision = world.source.put(http())
        reconciler.wake()
        await until(lambda: reconciler.status(http().key).reason is not None)
        route = await reconciler.settle(http().key, revision, 0.05)

    assert reconciler.proxy_status().reason == "nobody answers (start it)"
    assert route.reason == "nobody answers"


async def test_files_that_stay_behind_are_a_warning() -> None:
    world = World()
    await world.reconciler.step()
    assert world.reconciler.proxy_status().warnings == ()

    world.backend.disk_problem = "no space left on device"

    (warning,) = world.reconciler.proxy_status().warnings
    assert warning.endswith("no space left on device")


async def test_a_restarted_control_plane_adopts_what_runs() -> None:
    world = World()
    await world.publish(http(), mongo(), http("other", sticky=CookieName("A")))
    before, reloads = world.backend.running, list(world.backend.reloads)
    world.backend.performed.clear()

    await world.again().step()

    assert world.backend.running == before
    assert (world.backend.performed, world.backend.reloads) == ([], reloads)
    assert world.reconciler.status(http().key).state == ACTIVE


async def test_changes_made_while_it_was_away_are_carried_out_at_start() -> None:
    world = World()
    await world.publish(http(), http("gone"))
    world.source.remove(http("gone"))
    del world.source.rows[http("gone").key]
    world.source.put(http("fresh"))

    await world.again().step()

    assert sorted(world.maps(HOSTS)) == ["fresh.apps.example.com", SHOP]


async def test_a_crashed_haproxy_is_brought_up_to_date() -> None:
    world = World()
    async with world.running() as reconciler:
        await reconciler.settle(http().key, world.source.put(http()), 5)
        world.backend.persisted = None
        world.backend.crash()
        await until(lambda: world.backend.running is not None and world.servers_of(SHOP) != [])
        assert world.servers_of(SHOP) == ["10.0.0.1:3000"]


@pytest.mark.parametrize("damage", ["entry", "server", "maintenance", "address", "stray", "thief"])
async def test_drift_is_mended(damage: str) -> None:
    world = World(timing=msgspec.structs.replace(QUICK, drift=0.01))
    await world.publish(http(), http("other", "http://10.0.0.9:3000"))
    running = world.backend.running
    assert running is not None
    slot = running.maps[HOSTS][SHOP]
    hosts, servers = dict(running.maps[HOSTS]), dict(running.servers)
    (name,) = servers[slot]
    match damage:
        case "entry":
            del hosts[SHOP]
        case "server":
            servers[slot] = {}
        case "maintenance":
            servers[slot] = {name: RunningServer("10.0.0.1", 3000, ready=False)}
        case "address":
            servers[slot] = {name: RunningServer("10.0.0.99", 3000)}
        case "stray":
            servers[slot] = {**servers[slot], "by-hand": RunningServer("10.0.0.98", 1)}
        case "thief":
            hosts["stranger.apps.example.com"] = slot
    world.backend.running = msgspec.structs.replace(
        running, servers=servers, maps={**running.maps, HOSTS: hosts}
    )
    assert world.backend.running != running

    async with world.running():
        await until(lambda: world.backend.running == running)


async def test_names_are_resolved_followed_and_kept() -> None:
    world = World(timing=msgspec.structs.replace(QUICK, names=0.01))
    route = http("shop", "http://app.internal:3000")
    async with world.running() as reconciler:
        revision = world.source.put(route)
        reconciler.wake()
        await until(lambda: "can't be resolved" in (reconciler.status(route.key).reason or ""))
        assert reconciler.status(route.key).state == PENDING

        world.addresses["app.internal"] = ["10.0.0.5", "10.0.0.4"]
        assert (await reconciler.settle(route.key, revision, 5)).state == ACTIVE
        assert world.servers_of(SHOP) == ["10.0.0.4:3000"]

        world.addresses["app.internal"] = ["10.0.0.6"]
        await until(lambda: world.servers_of(SHOP) == ["10.0.0.6:3000"])

        del world.addresses["app.internal"]
        await asyncio.sleep(0.05)
        assert world.servers_of(SHOP) == ["10.0.0.6:3000"]


async def test_a_name_that_turns_to_a_forbidden_address_is_cut_off() -> None:
    world = World(timing=msgspec.structs.replace(QUICK, names=0.01))
    world.addresses["app.internal"] = ["10.0.0.5"]
    route = http("shop", "http://app.internal:3000")
    async with world.running() as reconciler:
        revision = world.source.put(route)
        reconciler.wake()
        assert (await reconciler.settle(route.key, revision, 5)).state == ACTIVE

        world.addresses["app.internal"] = ["169.254.169.254"]
        await until(lambda: reconciler.status(route.key).state == FAILED)
        assert world.maps(HOSTS) == {}
        assert "metadata" in (reconciler.status(route.key).reason or "")


async def test_a_renewed_certificate_is_served_without_a_reload() -> None:
    world = World()
    world.certificates = (Certificate(HTTPS_CERTIFICATE, "old"),)
    await world.reconciler.step()
    world.certificates = (Certificate(HTTPS_CERTIFICATE, "new"),)
    world.backend.performed.clear()

    await world.reconciler.step()

    assert world.backend.performed == [PutCertificate(Certificate(HTTPS_CERTIFICATE, "new"))]
    assert world.backend.reloads == []


async def test_a_vacated_slot_serves_again_only_once_it_is_idle() -> None:
    world = World(policy=PoolPolicy((), spare=0))
    await world.publish(http())
    slot = world.maps(HOSTS)[SHOP]
    idle = world.backend.idle

    async def busy(backends: object) -> frozenset[str]:
        return frozenset()

    world.backend.idle = busy  # type: ignore[assignment, method-assign]
    world.source.remove(http())
    await world.reconciler.step()
    reloads = len(world.backend.reloads)
    await world.publish(http("next"))
    assert len(world.backend.reloads) == reloads + 1

    world.backend.idle = idle  # type: ignore[method-assign]
    world.source.remove(http("next"))
    await world.reconciler.step()
    await world.publish(http("third"))
    assert world.maps(HOSTS)["third.apps.example.com"] == slot
    assert len(world.backend.reloads) == reloads + 1


async def test_health_follows_the_checks() -> None:
    world = World()
    route = http(check=HealthCheck())
    await world.publish(route)
    running = world.backend.running
    assert running is not None
    slot = running.maps[HOSTS][SHOP]
    down = {
        name: msgspec.structs.replace(server, up=False)
        for name, server in running.servers[slot].items()
    }
    world.backend.running = msgspec.structs.replace(
        running, servers={**running.servers, slot: down}
    )

    await world.again().step()

    assert world.reconciler.status(route.key).health == Health.DOWN


async def test_statuses_are_stored_and_restored_as_pending() -> None:
    world = World()
    await world.publish(http())
    await world.reconciler.remember()
    assert world.source.saved[http().key].state == ACTIVE
    world.backend.down = True

    with pytest.raises(ProxyUnavailableError):
        await world.again().step()

    assert world.reconciler.status(http().key).state == PENDING


async def test_a_domain_that_changes_moves_the_route() -> None:
    world = World()
    await world.publish(http())

    await world.publish(msgspec.structs.replace(http(), domain=DomainName("shop.new.example")))

    assert list(world.maps(HOSTS)) == ["shop.new.example"]
