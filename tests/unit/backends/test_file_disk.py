"""Disk follows what runs, survives what happens to it, and is enough to start from."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec
import pytest

from frontserver.backends.file.backend import FileBackend
from frontserver.backends.file.generations import MANIFEST, Generations
from frontserver.backends.file.tree import Tree
from frontserver.backends.manifest import Manifest
from frontserver.backends.port import State
from frontserver.errors import (
    CommandRefusedError,
    ConfigRejectedError,
    ProxyUnavailableError,
    StorageError,
)
from frontserver.haproxy.check import check
from frontserver.haproxy.external import ExternalHaproxy
from frontserver.haproxy.master import MasterClient, Worker
from frontserver.model.names import DomainName
from frontserver.model.routes import OriginTls
from frontserver.model.targets import HostPort
from frontserver.planning.actions import CutServer, PutCertificate, PutEntry
from frontserver.planning.compile import HTTP_PROFILE
from frontserver.planning.compiled import HOSTS, Certificate
from frontserver.planning.layout import Layout
from frontserver.planning.plan import ReloadReason
from frontserver.planning.running import adopt
from frontserver.rendering.render import FRONTENDS, GLOBAL, PROFILES
from tests.unit.backends.conftest import Site, free_port
from tests.unit.backends.fileworld import (
    REFILL,
    abandon,
    ask,
    current,
    driving,
    generations,
    origin,
    self_signed,
    shop,
    succeed,
    text_of,
    until,
    unwritable,
)
from tests.unit.backends.test_contract import Driver, rich
from tests.unit.planning.routes import POLICY, http, mongo

SHOP = "shop.apps.example.com"


@pytest.fixture
async def app() -> AsyncIterator[int]:
    async with origin("shop") as port:
        yield port


@pytest.fixture
async def driver(site: Site) -> AsyncIterator[Driver]:
    async with driving(site) as made:
        await made.seen()
        yield made


async def serves(site: Site, domain: str = SHOP) -> bool:
    return await ask(site.http_port, domain) == (200, "shop")


async def on_disk(site: Site, text: str = SHOP) -> None:
    await until(lambda: text in text_of(site, HOSTS), f"{text} is on disk")


async def kill_haproxy(driver: Driver) -> int:
    """Kill the worker, with which everything ends; returns its PID."""
    assert isinstance(driver.backend, FileBackend)
    worker = (await driver.backend._runtime.info()).pid
    os.kill(worker, signal.SIGKILL)
    return worker


# --- disk follows ---


async def test_what_was_done_at_run_time_is_on_disk_in_a_moment(
    site: Site, driver: Driver, app: int
) -> None:
    await driver.to(shop(app), mongo())
    await on_disk(site)

    await check(site.program, current(site))
    await driver.to()
    await until(lambda: text_of(site, HOSTS) == "", "the removal is on disk")


async def test_a_killed_worker_comes_back_with_what_was_done_last(
    site: Site, driver: Driver, app: int
) -> None:
    """Nothing but disk and supervision brings it back: nobody reconciles here."""
    changes: list[bool] = []
    driver.backend.on_change(lambda: changes.append(True))
    await driver.to(shop(app), rich())
    await driver.to(shop(app), shop(app, "second"), rich(value="changed"))

    await kill_haproxy(driver)

    await until(lambda: bool(changes), "HAProxy was brought back")
    assert await serves(site)
    assert await serves(site, "second.apps.example.com")
    await driver.assert_in_step()


async def test_a_change_survives_the_death_of_both(site: Site, app: int) -> None:
    async with driving(site) as driver:
        await driver.seen()
        await driver.to(shop(app))
        await on_disk(site)
        abandon(driver)
        await kill_haproxy(driver)

        async with driving(site) as again:
            assert await serves(site)
            again.state = driver.state
            await again.assert_in_step()


async def test_a_broken_disk_costs_no_traffic_and_heals(
    site: Site, driver: Driver, app: int, caplog: pytest.LogCaptureFixture
) -> None:
    with unwritable(site):
        await driver.to(shop(app))
        await until(lambda: "can't be written" in caplog.text, "the failure is logged")
        assert await serves(site)
        await driver.to(shop(app), shop(app, "second"))
        assert await serves(site, "second.apps.example.com")
        assert text_of(site, HOSTS) == ""

    await on_disk(site)
    await on_disk(site, "second")
    await check(site.program, current(site))


async def test_haproxy_is_brought_back_even_while_the_disk_is_broken(
    site: Site, driver: Driver, app: int, caplog: pytest.LogCaptureFixture
) -> None:
    changes: list[bool] = []
    driver.backend.on_change(lambda: changes.append(True))
    await driver.to(shop(app))
    await on_disk(site)
    with unwritable(site):
        await driver.to(shop(app), shop(app, "second"))
        await kill_haproxy(driver)

        await until(lambda: bool(changes), "HAProxy was brought back")
        assert await serves(site)
        assert "starts with what is on disk" in caplog.text
    await driver.backend.persist(driver.state, None)
    await on_disk(site, "second")


async def test_half_a_line_in_a_map_is_never_loaded(
    site: Site, driver: Driver, app: int, caplog: pytest.LogCaptureFixture
) -> None:
    """HAProxy takes it: `p1f….1` where `p1f….17` was meant would be another route's backend."""
    changes: list[bool] = []
    driver.backend.on_change(lambda: changes.append(True))
    await driver.to(shop(app), shop(app, "second"))
    await on_disk(site)
    await on_disk(site, "second")
    path = current(site) / HOSTS
    path.write_bytes(path.read_bytes()[:-3])

    await kill_haproxy(driver)
    await until(lambda: bool(changes), "HAProxy was brought back")

    assert "had no end" in caplog.text
    running = await driver.seen()
    slots = driver.state.layout.slots
    whole = {f"{key.name}.apps.example.com": slot for key, slot in slots.items()}
    assert running.maps[HOSTS].items() < whole.items()


async def test_what_makes_a_route_reachable_is_written_last(
    site: Site, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash in the middle must not join a route with another one's servers or values."""
    written: list[str] = []
    put, update = Tree.put, Tree.update

    def record_files(tree: Tree, files: Mapping[str, str]) -> int:
        written.extend(files)
        return put(tree, files)

    def record_maps(tree: Tree, changes: Mapping[str, Mapping[str, str | None]]) -> int:
        written.extend(changes)
        return update(tree, changes)

    monkeypatch.setattr(Tree, "put", record_files)
    monkeypatch.setattr(Tree, "update", record_maps)
    ca, _ = self_signed("origin.internal")
    own_ca = OriginTls(server_name=DomainName("origin.internal"), ca_pem=ca)
    route = http("shop", "https://10.0.0.1", origin_tls=own_ca, use_tls=False)
    await driver.to(route, mongo())
    await driver.backend.close()

    kinds = [name.partition("/")[0] for name in written if not name.startswith("maps/")]
    assert kinds[0] == "certs"
    assert all(kind.startswith("50-") for kind in kinds[1:])
    assert written.index("maps/flags.map") > len(kinds) - 1
    assert written[-3:] == [HOSTS, "maps/paths.map", "maps/sni.map"]


async def test_closing_flushes(site: Site, driver: Driver, app: int) -> None:
    await driver.to(shop(app))
    await driver.backend.close()
    assert SHOP in text_of(site, HOSTS)
    assert await serves(site)


async def test_closing_with_a_broken_disk_lets_go_all_the_same(
    site: Site, driver: Driver, app: int, caplog: pytest.LogCaptureFixture
) -> None:
    with unwritable(site):
        await driver.to(shop(app))
        await driver.backend.close()
    assert "files are behind" in caplog.text
    assert await serves(site)


async def test_a_renewed_certificate_is_not_undone_by_a_failed_flush(
    site: Site, driver: Driver
) -> None:
    """It is performed before the state that holds it is persisted."""
    pem = "certs/ours.pem"
    old, new = Certificate(pem, "old\n"), Certificate(pem, "new\n")
    state = msgspec.structs.replace(
        driver.state, config=msgspec.structs.replace(driver.state.config, certificates=(old,))
    )
    await driver.backend.persist(state, None)
    backend = driver.backend
    assert isinstance(backend, FileBackend)
    backend._mirror.renew(new)
    with unwritable(site):
        backend._mirror.act([PutEntry(HOSTS, "other.apps.example.com", "p1f.0")])
        with pytest.raises(StorageError):
            await backend._mirror.flush()

    await backend._mirror.flush()

    assert text_of(site, pem) == "new\n"


async def test_a_certificate_that_haproxy_refuses_isnt_written(site: Site, driver: Driver) -> None:
    with pytest.raises(CommandRefusedError):
        await driver.backend.perform([PutCertificate(Certificate("certs/none.pem", "junk"))])
    await driver.backend.close()
    assert text_of(site, "certs/none.pem") == ""


async def test_a_ca_of_a_routes_own_is_used_at_once_and_after_a_cold_start(
    site: Site, driver: Driver
) -> None:
    ca, context = self_signed("origin.internal")
    async with origin("shop", context) as port:
        tls = OriginTls(server_name=DomainName("origin.internal"), ca_pem=ca)
        secure = http("shop", f"https://127.0.0.1:{port}", origin_tls=tls)

        planned = await driver.to(secure)

        assert planned.reasons == ()
        assert await serves(site)
        await driver.backend.reload(driver.state, REFILL)
        assert await serves(site)
        await driver.backend.close()
        await site.process().stop()
        await succeed(driver, site)
        assert await serves(site)


async def test_a_ca_that_is_too_long_for_a_command_comes_with_a_reload(
    site: Site, driver: Driver
) -> None:
    """Some 15 kB on 2.8 to 3.2; a bundle may have 64 KiB. So it comes back if it is mended."""
    most = driver.backend.limits.longest_bundle
    assert most is not None
    ca, context = self_signed("origin.internal")
    bundle = ca * (most // len(ca) + 1)
    async with origin("shop", context) as port:
        tls = OriginTls(server_name=DomainName("origin.internal"), ca_pem=bundle)
        secure = http("shop", f"https://127.0.0.1:{port}", origin_tls=tls)

        planned = await driver.to(secure)

        assert planned.reasons == (ReloadReason.RUNTIME_LIMITS,)
        assert await serves(site)
        (slot,) = driver.state.layout.slots.values()
        (server,) = driver.state.config.routes[secure.key].servers
        await driver.backend.perform([CutServer(slot, server.name)])
        found = adopt(driver.state.config, await driver.seen(), driver.state.layout)
        driver.state = State(found.config, found.layout)

        planned = await driver.to(secure)

        assert planned.reasons == (ReloadReason.RUNTIME_LIMITS,)
        assert await serves(site)


async def test_a_ca_just_short_enough_for_a_command_needs_none(site: Site, driver: Driver) -> None:
    most = driver.backend.limits.longest_bundle
    assert most is not None
    ca, context = self_signed("origin.internal")
    bundle = ca * (most // len(ca))
    async with origin("shop", context) as port:
        tls = OriginTls(server_name=DomainName("origin.internal"), ca_pem=bundle)

        planned = await driver.to(http("shop", f"https://127.0.0.1:{port}", origin_tls=tls))

        assert planned.reasons == ()
        assert await serves(site)


async def test_an_origin_that_shows_another_certificate_gets_no_request(
    site: Site, driver: Driver
) -> None:
    ca, _ = self_signed("origin.internal")
    _, stranger = self_signed("origin.internal")
    async with origin("stolen", stranger) as port:
        tls = OriginTls(server_name=DomainName("origin.internal"), ca_pem=ca)
        await driver.to(http("shop", f"https://127.0.0.1:{port}", origin_tls=tls))
        assert (await ask(site.http_port, SHOP))[0] == 503


# --- adoption ---


async def test_another_control_plane_adopts_without_a_reload(site: Site, app: int) -> None:
    async with driving(site) as driver:
        await driver.to(shop(app), mongo(), rich())
        seen, generation = await driver.seen(), current(site)
        pids = [worker.pid for worker in await site_processes(driver)]
        abandon(driver)

        async with driving(site) as again:
            assert await again.seen() == seen
            assert [worker.pid for worker in await site_processes(again)] == pids
            assert current(site) == generation
            again.state = driver.state
            await again.backend.persist(again.state, None)
            await again.to(shop(app), mongo(), rich(), shop(app, "second"))
            await again.assert_in_step()
            assert await serves(site, "second.apps.example.com")


async def site_processes(driver: Driver) -> list[Worker]:
    assert isinstance(driver.backend, FileBackend)
    found = await driver.backend._handover._master.processes()
    return [worker for worker in found if worker.kind != "old"]


async def test_a_generation_that_was_removed_by_hand_is_replaced_by_a_reload(
    site: Site, driver: Driver, app: int, caplog: pytest.LogCaptureFixture
) -> None:
    await driver.to(shop(app))
    await on_disk(site)
    shutil.rmtree(current(site))

    found = await driver.seen()

    assert found.frontends is None
    assert found.pools == {}
    assert "isn't here" in caplog.text
    await driver.backend.reload(driver.state, (ReloadReason.FRONTENDS,))
    await driver.assert_in_step()
    assert await serves(site)


async def test_a_new_configuration_of_an_old_name_isnt_taken_for_the_one_that_runs(
    site: Site,
) -> None:
    """The whole directory was removed by hand while HAProxy ran, and names start again."""
    before = Driver(site.backend(), site.frontends)
    larger = msgspec.structs.replace(POLICY, spare=9)
    before.state = State(before.state.config, Layout().reloaded({}, larger))
    await before.start()
    assert (await before.seen()).pools[HTTP_PROFILE] == 9
    await before.backend.close()
    assert current(site).name == "000001"
    shutil.rmtree(site.directory / "haproxy")
    site.generations = Generations(site.directory / "haproxy")

    async with driving(site) as again:
        assert current(site).name == "000001"
        assert (await again.seen()).frontends is None
        await again.backend.reload(again.state, (ReloadReason.FRONTENDS,))
        await again.assert_in_step()


# --- starting ---


def damage(site: Site, name: str = FRONTENDS) -> None:
    """Cut the file short where it is, as a bad disk or an editor does."""
    path = current(site) / name
    path.write_bytes(path.read_bytes()[:-20] + b"\0")


async def stopped_after_a_reload(site: Site, app: int) -> Path:
    """HAProxy has ended; what is returned was current before its last reload, and is good."""
    async with driving(site) as driver:
        await driver.to(shop(app), rich())
        await on_disk(site)
        good = current(site)
        await driver.backend.reload(driver.state, REFILL)
    await site.process().stop()
    return good


async def test_a_damaged_configuration_is_passed_over_for_the_last_good_one(
    site: Site, app: int, caplog: pytest.LogCaptureFixture
) -> None:
    good = await stopped_after_a_reload(site, app)
    # Only of this generation: what both have is one file on disk.
    replaced = current(site) / GLOBAL
    replaced.unlink()
    replaced.write_text("global\n    def")

    async with driving(site):
        assert await serves(site)
    assert current(site) == good
    assert "won't start with" in caplog.text


async def test_with_all_damaged_it_starts_empty_rather_than_not_at_all(
    site: Site, app: int
) -> None:
    async with driving(site) as driver:
        await driver.to(shop(app))
        await driver.backend.reload(driver.state, REFILL)
    await site.process().stop()
    damage(site)

    async with driving(site) as again:
        assert (await ask(site.http_port, SHOP))[0] == 404
        found = await again.seen()
        assert found.frontends == site.frontends.fingerprint
        assert set(found.maps[HOSTS]) == set()
        again.state = driver.state
        await again.backend.reload(again.state, REFILL)
        assert await serves(site)


async def test_what_has_lost_a_file_is_passed_over_for_the_last_good_one(
    site: Site, app: int
) -> None:
    """HAProxy would start with what is left."""
    good = await stopped_after_a_reload(site, app)
    lose(site, FRONTENDS)

    async with driving(site):
        assert await serves(site)
    assert current(site) == good


@pytest.mark.parametrize("name", [FRONTENDS, "50-*.cfg"])
async def test_a_haproxy_that_was_reloaded_without_a_file_is_replaced(
    site: Site, driver: Driver, app: int, name: str
) -> None:
    await driver.to(shop(app))
    lose(site, name)
    await MasterClient(site.master_socket).reload()

    assert (await driver.seen()).frontends is None
    await driver.backend.reload(driver.state, REFILL)
    assert await serves(site)
    await driver.assert_in_step()


async def test_a_haproxy_that_lacks_backends_is_replaced(
    site: Site, driver: Driver, app: int
) -> None:
    """Somebody emptied a file, and loaded it."""
    await driver.to(shop(app))
    for shard in current(site).glob("50-*.cfg"):
        shard.write_text("# nothing\n")
    await MasterClient(site.master_socket).reload()

    assert (await driver.seen()).frontends is None


def lose(site: Site, name: str) -> None:
    """Remove files of this name of the current configuration, none of which can be spared."""
    found = list(current(site).glob(name))
    assert found
    for path in found:
        path.unlink()


async def test_damaged_while_it_ran_it_comes_back_as_it_was(
    site: Site, driver: Driver, app: int
) -> None:
    changes: list[bool] = []
    driver.backend.on_change(lambda: changes.append(True))
    await driver.to(shop(app))
    damage(site)

    await kill_haproxy(driver)

    await until(lambda: bool(changes), "HAProxy was brought back")
    assert await serves(site)
    await driver.assert_in_step()


async def test_a_first_configuration_that_is_refused_is_told_and_not_kept(site: Site) -> None:
    frontends = msgspec.structs.replace(site.frontends, hard_stop_after="1fortnight")
    driver = Driver(site.backend(), frontends)

    with pytest.raises(ConfigRejectedError, match="hard-stop-after"):
        await driver.start()

    assert site.generations.current() is None
    assert generations(site) == []


async def test_leftovers_of_a_crash_are_cleared_away(site: Site) -> None:
    left = site.directory / "haproxy" / "generations" / "000007.tmp"
    left.mkdir(parents=True)
    (left / "half").write_text("half")

    async with driving(site):
        assert generations(site) == ["000001"]


async def test_a_stopped_haproxy_gets_the_listeners_that_are_set_now(site: Site, app: int) -> None:
    async with driving(site) as driver:
        await driver.to(shop(app), rich())
    await site.process().stop()
    old = site.http_port
    site.frontends = msgspec.structs.replace(
        site.frontends,
        http_binds=(HostPort("127.0.0.1", free_port()),),
        server_ms=4711,
        system_ca=self_signed("ca.internal")[0],
    )

    async with driving(site) as again:
        assert site.http_port != old
        assert await serves(site)
        assert (await ask(old, SHOP))[0] == 0
        again.state = State(
            msgspec.structs.replace(driver.state.config, frontends=site.frontends),
            driver.state.layout,
        )
        await again.assert_in_step()
    assert "4711" in text_of(site, PROFILES)
    assert "ca.internal" not in text_of(site, "certs/system-ca.pem")
    assert text_of(site, "certs/system-ca.pem") == site.frontends.system_ca


async def test_after_an_upgrade_that_names_profiles_otherwise_everything_is_served_at_once(
    site: Site, app: int
) -> None:
    """New listeners can't be fitted to old slots: HAProxy starts with what is on disk."""
    async with driving(site) as driver:
        await driver.to(shop(app))
    await site.process().stop()
    manifest = current(site) / MANIFEST
    renamed = manifest.read_text().replace('"queue_ms":null', '"queue_ms":4711')
    assert renamed != manifest.read_text()
    manifest.write_text(renamed)
    site.frontends = msgspec.structs.replace(site.frontends, server_ms=4711)

    async with driving(site) as again:
        assert await serves(site)
        running = await again.seen()
    assert (running.frontends, running.pools) == (None, {})


async def test_a_haproxy_that_somebody_else_starts_finds_them_too(site: Site, app: int) -> None:
    """An external one isn't there when the control plane starts."""
    async with driving(site) as driver:
        await driver.to(shop(app))
    await site.process().stop()
    site.frontends = msgspec.structs.replace(site.frontends, server_ms=4711)
    backend = external(site)
    absent = Driver(backend, site.frontends)

    with pytest.raises(ProxyUnavailableError):
        await absent.start()

    await backend.close()
    assert "4711" in text_of(site, GLOBAL)
    assert "4711" in text_of(site, PROFILES)


def external(site: Site) -> FileBackend:
    """Over a HAProxy that somebody else starts and stops."""
    return site.backend(ExternalHaproxy(runtime_socket=site.runtime_socket, every=60.0))


# --- generations by themselves ---


def test_files_that_are_in_use_arent_changed_by_an_attempt_after_a_failed_one(
    site_directory: Generations,
) -> None:
    """A draft's files may be the very files of the current generation, by hard link."""
    made = site_directory
    manifest = Manifest("f", ())
    made.promote(made.write("000001", {"a.cfg": "in use\n", "b.cfg": "b\n"}, manifest))
    draft = made.path("000002").with_suffix(".tmp")
    draft.mkdir()
    os.link(made.path("000001") / "a.cfg", draft / "a.cfg")
    (draft / "stray.cfg").write_text("of another attempt\n")

    written = made.write("000002", {"a.cfg": "new\n", "b.cfg": "b\n"}, manifest)

    assert (made.path("000001") / "a.cfg").read_text() == "in use\n"
    assert made.read(written) == {"a.cfg": "new\n", "b.cfg": "b\n"}
    assert (written / "b.cfg").samefile(made.path("000001") / "b.cfg")


def test_names_never_come_back_while_we_live(site_directory: Generations) -> None:
    made = site_directory
    first = made.write(made.next_name(), {"a.cfg": ""}, Manifest("f", ()))
    made.discard(first)
    assert made.next_name() == "000002"
    shutil.rmtree(first.parent)
    assert made.next_name() == "000003"
    made.prune()
    assert made.before(first) is None


def test_configurations_are_readable_by_us_alone(site_directory: Generations) -> None:
    made = site_directory
    manifest = Manifest("f", ())
    path = made.write("000001", {"certs/key.pem": "key"}, manifest)
    made.promote(path)
    Tree.unknown(path).put({"maps/hosts.map": "k v\n"})
    for file in (path / "certs/key.pem", path / "maps/hosts.map", path / MANIFEST):
        assert file.stat().st_mode & 0o777 == 0o600
    for directory in (path, path / "certs", path / "maps", path.parent):
        assert directory.stat().st_mode & 0o777 == 0o700


@pytest.fixture
def site_directory(tmp_path: Path) -> Generations:
    made = Generations(tmp_path)
    made.prepare()
    return made
