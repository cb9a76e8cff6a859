"""Reloads that fail leave everything as it was; what could take HAProxy down is never tried."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from frontserver.backends.file.backend import FileBackend
from frontserver.backends.port import State
from frontserver.errors import (
    ConfigRejectedError,
    ProxyError,
    ProxyUnavailableError,
    StorageError,
    TemplateError,
)
from frontserver.haproxy.master import MasterClient
from frontserver.model.names import PathPrefix
from frontserver.model.targets import HostPort
from frontserver.planning.compiled import HOSTS, PATHS, Frontends
from frontserver.planning.diff import diff
from frontserver.planning.plan import ReloadReason, plan
from frontserver.rendering.render import GLOBAL
from frontserver.rendering.templates import default_directory
from tests.unit.backends.conftest import Site
from tests.unit.backends.fileworld import (
    REFILL,
    ask,
    current,
    driving,
    generations,
    origin,
    shop,
    succeed,
    text_of,
    until,
)
from tests.unit.backends.test_contract import Driver
from tests.unit.planning.routes import compiled, http

SHOP = "shop.apps.example.com"
CHANGED = (ReloadReason.FRONTENDS,)


@pytest.fixture
async def app() -> AsyncIterator[int]:
    async with origin("shop") as port:
        yield port


@pytest.fixture
async def driver(site: Site, app: int) -> AsyncIterator[Driver]:
    """HAProxy serves one route, and an operator's template directory is there, empty."""
    site.templates = site.directory / "templates"
    (site.templates / "custom").mkdir(parents=True)
    async with driving(site) as made:
        await made.to(shop(app))
        await until(lambda: SHOP in text_of(site, HOSTS), "the route is on disk")
        yield made


async def customise(site: Site, driver: Driver, name: str, text: str) -> None:
    """Write a template of the operator's, and let another control plane read it."""
    assert site.templates is not None
    (site.templates / name).write_text(text)
    await driver.backend.close()
    await succeed(driver, site)


def reframed(state: State, frontends: Frontends) -> State:
    return State(msgspec.structs.replace(state.config, frontends=frontends), state.layout)


async def serves(site: Site) -> bool:
    return await ask(site.http_port, SHOP) == (200, "shop")


async def assert_untouched(site: Site, driver: Driver, before: tuple[object, ...]) -> None:
    assert await serves(site)
    assert (current(site), generations(site), await master_pid(site)) == before
    await driver.assert_in_step()


async def snapshot(site: Site) -> tuple[object, ...]:
    return current(site), generations(site), await master_pid(site)


async def master_pid(site: Site) -> int | None:
    return await site.process().adopt()


async def test_a_configuration_that_haproxy_refuses_touches_nothing(
    site: Site, driver: Driver
) -> None:
    before = await snapshot(site)
    await customise(site, driver, "custom/global.cfg.j2", "    no-such-keyword at all\n")

    with pytest.raises(ConfigRejectedError, match="no-such-keyword") as refused:
        await driver.backend.reload(driver.state, CHANGED)

    assert refused.value.file is not None
    assert refused.value.file.endswith(GLOBAL)
    assert refused.value.line
    await assert_untouched(site, driver, before)


async def test_a_template_that_looks_into_fewer_maps_is_lived_with(
    site: Site, driver: Driver, app: int
) -> None:
    """As when HAProxy runs on from an older version, or with a frontend of the operator's."""
    ours = (default_directory() / "routing.cfg.j2").read_text().splitlines(keepends=True)
    theirs = "".join(line for line in ours if "}}paths.map" not in line)
    await customise(site, driver, "routing.cfg.j2", theirs)
    await driver.backend.reload(driver.state, CHANGED)

    assert (await driver.seen()).maps[PATHS] == {}
    await driver.assert_in_step()
    assert await serves(site)
    below = http("shop", path=PathPrefix("/api"))
    target = driver.state.config.with_routes(compiled(below))
    planned = plan(diff(driver.state.config, target), driver.state.layout)
    assert "map" in (await driver.backend.apply(planned.steps))[below.key]
    await driver.assert_in_step()


@pytest.mark.parametrize(
    ("name", "text", "error", "says"),
    [
        ("global.cfg.j2", "{{ nothing }}", TemplateError, "custom/global.cfg.j2:1"),
        ("profile.cfg.j2", "    errorfiles S", ConfigRejectedError, "errorfiles"),
        ("http_defaults.cfg.j2", "    http-request cache-use c", ConfigRejectedError, "cache-use"),
        ("http_defaults.cfg.j2", "    option external-check", ConfigRejectedError, "external"),
        ("http_frontend.cfg.j2", "    # a\0", ConfigRejectedError, "control character"),
    ],
)
async def test_what_is_known_to_be_harmful_never_reaches_disk(
    site: Site, driver: Driver, name: str, text: str, error: type[Exception], says: str
) -> None:
    before = await snapshot(site)
    await customise(site, driver, f"custom/{name}", text)

    with pytest.raises(error, match=says):
        await driver.backend.reload(driver.state, CHANGED)

    await assert_untouched(site, driver, before)


async def test_a_configuration_without_a_listener_is_refused(site: Site, driver: Driver) -> None:
    """HAProxy itself reports success, and serves nothing from then on."""
    before = await snapshot(site)
    await customise(site, driver, "frontends.cfg.j2", "backend fs_none from fs_http\n")

    with pytest.raises(ConfigRejectedError, match="no frontend listens"):
        await driver.backend.reload(driver.state, CHANGED)

    await assert_untouched(site, driver, before)


@pytest.mark.parametrize("line", ["chroot /nowhere/at/all", "user nobody", "gid 4711"])
async def test_who_haproxy_is_isnt_changed_by_a_reload(
    site: Site, driver: Driver, line: str
) -> None:
    """`haproxy -c` accepts it, and the reload then ends the master (2.8, 3.0)."""
    before = await snapshot(site)
    await customise(site, driver, "custom/global.cfg.j2", f"    {line}\n")

    with pytest.raises(ConfigRejectedError, match=rf"'{line.partition(' ')[0]}' is .* stop HAP"):
        await driver.backend.reload(driver.state, CHANGED)

    await assert_untouched(site, driver, before)


async def test_a_reload_that_ends_the_master_is_rolled_back(
    site: Site, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What neither our walls nor `haproxy -c` see, and happens after binding (2.8, 3.0)."""
    before = current(site)
    await customise(site, driver, "custom/global.cfg.j2", "    chroot /nowhere/at/all\n")
    monkeypatch.setattr("frontserver.backends.file.judge.check_reloadable", lambda *_: None)

    with pytest.raises(ProxyError):
        await driver.backend.reload(driver.state, CHANGED)

    await until(lambda: serves(site), "HAProxy was brought back, or has never gone")
    assert current(site) == before
    await driver.assert_in_step()


@pytest.mark.skipif(os.getuid() != 0, reason="only root may change its group")
async def test_who_haproxy_is_changes_with_a_restart(site: Site, driver: Driver) -> None:
    await customise(site, driver, "custom/global.cfg.j2", "    group nogroup\n")
    frontends = msgspec.structs.replace(site.frontends, templates="changed")
    await driver.backend.close()
    await site.process().stop()

    site.frontends = frontends
    async with driving(site) as restarted:
        assert "group nogroup" in text_of(site, GLOBAL)
        # The slots' template may be another one too: that is for the reload which follows.
        found = await restarted.seen()
        assert found.frontends != frontends.fingerprint
        assert set(found.maps[HOSTS]) == {SHOP}
        await restarted.backend.reload(reframed(driver.state, frontends), CHANGED)
        assert (await restarted.seen()).frontends == frontends.fingerprint


async def test_two_failed_reloads_in_a_row_leave_everything_reachable(
    site: Site, driver: Driver, app: int
) -> None:
    """From 3.2 on, HAProxy's runtime socket is dead then; the master's goes on."""
    before = await snapshot(site)
    with socket.socket() as occupier:
        occupier.bind(("127.0.0.1", 0))
        occupier.listen()
        wanted = msgspec.structs.replace(
            site.frontends,
            http_binds=(*site.frontends.http_binds, HostPort(*occupier.getsockname())),
        )
        target = reframed(driver.state, wanted)
        for _ in range(2):
            with pytest.raises(ConfigRejectedError, match=r"(?i)cannot bind|in use"):
                await driver.backend.reload(target, CHANGED)
            await assert_untouched(site, driver, before)
        await driver.to(shop(app), shop(app, "second"))
        assert await ask(site.http_port, "second.apps.example.com") == (200, "shop")
    await until(lambda: "second" in text_of(site, HOSTS), "changes still reach the disk")

    driver.state = reframed(driver.state, wanted)
    await driver.backend.reload(driver.state, CHANGED)

    assert await ask(wanted.http_binds[1].port, SHOP) == (200, "shop")
    await driver.assert_in_step()


async def test_a_damaged_file_on_disk_cant_get_into_a_reload(site: Site, driver: Driver) -> None:
    """3.4's master crashes on a file that is cut short or holds NUL."""
    for damage in (b"frontend half from fs_ht", b"\0\xff\xfe" * 50, b""):
        for name in (GLOBAL, "10-frontends.cfg", HOSTS):
            replaced(current(site) / name, damage)

        await driver.backend.reload(driver.state, REFILL)

        assert await serves(site)
        await driver.assert_in_step()


def replaced(path: Path, content: bytes) -> None:
    """Another file under this name, so that links to the old one aren't touched."""
    path.unlink()
    path.write_bytes(content)


async def test_the_current_link_is_there_at_every_moment(site: Site, driver: Driver) -> None:
    """3.2's master ends when its configuration is missing at a reload."""
    link = site.directory / "haproxy" / "current" / GLOBAL
    missing: list[OSError] = []
    looks = 0
    stop = threading.Event()

    def look() -> None:
        nonlocal looks
        while not stop.is_set():
            try:
                link.read_bytes()
                looks += 1
            except OSError as error:
                missing.append(error)

    watcher = asyncio.create_task(asyncio.to_thread(look))
    try:
        for _ in range(4):
            await driver.backend.reload(driver.state, REFILL)
        await until(lambda: looks > 100, "it was looked at")
    finally:
        stop.set()
        await watcher
    assert missing == []


async def test_a_reload_of_a_haproxy_that_isnt_there_rolls_back(site: Site, driver: Driver) -> None:
    before = current(site), generations(site)
    await driver.backend.close()
    await site.process().stop()

    with pytest.raises(ProxyUnavailableError):
        await driver.backend.reload(driver.state, REFILL)

    assert (current(site), generations(site)) == before


async def test_a_disk_that_takes_no_new_configuration_leaves_the_old_one(
    site: Site, driver: Driver
) -> None:
    before = current(site)
    obstacle = site.directory / "haproxy" / "generations" / "000002.tmp"
    obstacle.write_text("not a directory")

    with pytest.raises(StorageError, match="can't be written"):
        await driver.backend.reload(driver.state, REFILL)

    assert current(site) == before
    assert await serves(site)
    obstacle.unlink()
    await driver.backend.reload(driver.state, REFILL)
    await driver.assert_in_step()


async def test_reloads_keep_the_last_good_configuration_and_no_more(
    site: Site, driver: Driver
) -> None:
    for _ in range(3):
        await driver.backend.reload(driver.state, REFILL)
    assert generations(site) == ["000003", "000004"]
    assert current(site).name == "000004"


async def test_haproxy_still_reloads_after_it_refused_what_somebody_edited(
    site: Site, driver: Driver
) -> None:
    """2.8's and 3.0's master stays in the directory that it refused: that must stay, too."""
    path = current(site) / "10-frontends.cfg"
    replaced(path, path.read_bytes() + b"\nnonsense\n")
    assert not (await MasterClient(site.master_socket).reload()).success

    for _ in range(4):
        await driver.backend.reload(driver.state, REFILL)

    await driver.assert_in_step()
    assert generations(site)[-2:] == ["000004", "000005"]
    assert len(generations(site)) <= 3


async def test_an_interrupted_reload_is_undone_at_the_next_look(
    site: Site, driver: Driver, app: int
) -> None:
    """The control plane was killed after the swap of the link, before HAProxy was asked."""
    ran = current(site)
    backend = driver.backend
    assert isinstance(backend, FileBackend)
    site.generations.promote((await backend._drafts.make_whole(driver.state)).path)

    await driver.assert_in_step()

    assert current(site) == ran
    await driver.to(shop(app), shop(app, "second"))
    await until(lambda: "second" in (ran / HOSTS).read_text(), "disk follows what runs")
