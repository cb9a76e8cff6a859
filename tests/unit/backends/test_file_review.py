"""What a review found: each test states what should hold, and fails where it doesn't yet."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from immutables import Map

from frontserver.backends import durable
from frontserver.backends.file.backend import FileBackend
from frontserver.backends.file.generations import Generations
from frontserver.backends.file.judge import Judge
from frontserver.backends.file.ondisk import read_current
from frontserver.backends.file.tree import Tree
from frontserver.backends.manifest import Manifest
from frontserver.backends.port import State
from frontserver.errors import ProxyUnavailableError, StorageError
from frontserver.haproxy.canary import Canary, Verdict
from frontserver.haproxy.commands import Command
from frontserver.haproxy.external import ExternalHaproxy
from frontserver.haproxy.reads import Info
from frontserver.model.routes import (
    CookieName,
    HeaderEdits,
    HeaderName,
    HeaderValue,
    RouteKey,
)
from frontserver.planning.compiled import HOSTS, MAPS, VALUES, CompiledConfig, Profile
from frontserver.planning.diff import diff
from frontserver.planning.layout import Layout, Pool
from frontserver.planning.plan import lay_out, plan
from frontserver.planning.running import Running, adopt
from frontserver.reconcile.applied import Applied
from frontserver.reconcile.drift import DriftLook
from tests.unit.backends.conftest import Site
from tests.unit.backends.fileworld import (
    REFILL,
    ask,
    current,
    driving,
    generations,
    origin,
    shop,
    text_of,
    until,
)
from tests.unit.backends.test_contract import Driver
from tests.unit.backends.test_file_drafts import Reload
from tests.unit.backends.test_file_streams import only_free
from tests.unit.planning.routes import FRONTENDS, POLICY, compiled, http, mongo

EDITS = HeaderEdits(set=((HeaderName("x-a"), HeaderValue("1")),))
OTHER = HeaderEdits(set=((HeaderName("x-a"), HeaderValue("2")),))


@pytest.fixture
async def driver(site: Site) -> AsyncIterator[Driver]:
    async with driving(site) as made:
        await made.seen()
        yield made


def file_backend(driver: Driver) -> FileBackend:
    assert isinstance(driver.backend, FileBackend)
    return driver.backend


async def swept(driver: Driver) -> None:
    """Resting slots serve again, as the reconciler has it."""
    backends = tuple(driver.state.layout.resting())
    idle = await driver.backend.idle(backends)
    assert idle == set(backends)
    layout = driver.state.layout
    for backend in idle:
        layout = layout.give_back(backend)
    driver.state = State(driver.state.config, layout)


async def test_a_slot_that_serves_again_keeps_its_values_through_a_reload(
    site: Site, driver: Driver
) -> None:
    """The route that was there before had entries of the same keys."""
    kept = [http(f"kept{n}", response_headers=EDITS) for n in range(3)]
    await driver.to(*kept, http("gone", response_headers=EDITS))
    slot = driver.state.layout.slots[http("gone").key]
    await driver.to(*kept)
    await swept(driver)
    for n in range(30):
        await driver.to(*kept, *(http(f"new{m}", response_headers=OTHER) for m in range(n)))
        if slot in driver.state.layout.slots.values():
            break
    assert slot in driver.state.layout.slots.values(), "the slot serves again"

    reload = Reload(driver)
    await reload.load(await reload.prepare())

    assert slot in text_of(site, VALUES)
    await driver.assert_in_step()


async def test_nothing_of_slots_that_were_swept_is_remembered(site: Site, driver: Driver) -> None:
    await driver.to(http("gone", response_headers=EDITS))
    await driver.to()
    await swept(driver)
    assert not file_backend(driver)._mirror._left


async def test_what_was_touched_is_remembered_for_a_draft_only(site: Site, driver: Driver) -> None:
    """Names that come and go for weeks must not add up."""
    for n in range(3):
        await driver.to(http(f"shop{n}"))
        await driver.to()
    assert not file_backend(driver)._touched


async def test_a_flush_under_way_does_not_write_what_was_into_a_new_generation(
    site: Site, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow disk: the flush begins before the route goes, and ends after the reload."""
    backend = file_backend(driver)
    await driver.to(mongo())
    reload = Reload(driver)
    prepared = await reload.prepare()

    begun, go_on = threading.Event(), threading.Event()
    put = Tree.put

    def slow(tree: Tree, files: dict[str, str]) -> int:
        if not begun.is_set():
            begun.set()
            go_on.wait(10)
        return put(tree, files)

    monkeypatch.setattr(Tree, "put", slow)
    await driver.to(http("gone"), mongo())
    flushing = asyncio.create_task(backend._mirror.flush())
    assert await asyncio.to_thread(begun.wait, 5)
    await driver.to(mongo())
    loading = asyncio.create_task(reload.load(prepared))
    await asyncio.wait({loading}, timeout=2)
    go_on.set()
    await loading
    await flushing
    await backend._mirror.flush()

    assert "gone" not in text_of(site, HOSTS)
    await driver.assert_in_step()


async def test_a_preparation_that_is_cancelled_leaves_nothing(
    site: Site, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a configuration that never ran is taken for the last good one."""
    await driver.to(http(), mongo())
    had = generations(site)
    begun, go_on = threading.Event(), threading.Event()
    derive = Tree.derive

    def slow(self: Tree, *args: object) -> Tree:
        begun.set()
        go_on.wait(10)
        return derive(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Tree, "derive", slow)
    preparing = asyncio.create_task(Reload(driver).prepare())
    assert await asyncio.to_thread(begun.wait, 5)
    preparing.cancel()
    go_on.set()
    await asyncio.wait({preparing})

    assert generations(site) == had


async def test_a_draft_of_a_killed_control_plane_is_not_the_last_good_one(
    site: Site, driver: Driver
) -> None:
    await driver.to(http(), mongo())
    await Reload(driver).prepare()  # Never loaded, as after `kill -9`.
    ran = current(site).name

    again = Driver(site.backend(), site.frontends)
    await again.start()
    again.state = driver.state
    await again.assert_in_step()
    reload = Reload(again)
    await reload.load(await reload.prepare())

    last_good = site.generations.before(current(site))
    assert last_good is not None
    assert last_good.name == ran
    await again.backend.close()


async def test_looking_for_idle_slots_does_not_wait_for_a_draft(site: Site, driver: Driver) -> None:
    """A round would wait as long as a whole configuration takes to be written."""
    backend = file_backend(driver)
    await driver.to(http("gone"))
    await driver.to()
    async with backend._mirror.at_rest():
        async with asyncio.timeout(1):
            await backend.idle(tuple(driver.state.layout.resting()))


async def test_an_extra_slot_that_came_to_nothing_can_be_swept(site: Site, driver: Driver) -> None:
    """Its backend was undone with the route that failed (3.4)."""
    backend = file_backend(driver)
    assert backend._observer.capabilities is not None
    if not backend._observer.capabilities.dynamic_backends:
        pytest.skip("this HAProxy makes no backends at run time (3.4 does)")
    first = shop(1, "first", sticky=CookieName("C"))
    await driver.to(first)
    bad = shop(2, "bad", sticky=CookieName("C"))
    target = driver.state.config.with_routes(compiled(first, bad))
    planned = plan(diff(driver.state.config, target), driver.state.layout, backend.growing)
    assert not planned.reasons

    said = backend._runtime.run

    async def run(commands: Sequence[Command]) -> list[str]:
        spoilt = ["add server" in str(command) for command in commands]
        return await said(
            ["add server nonsense" if bad else c for c, bad in zip(commands, spoilt, strict=True)]
        )

    backend._runtime.run = run  # type: ignore[method-assign]
    failed = await backend.apply(planned.steps)
    backend._runtime.run = said  # type: ignore[method-assign]
    assert failed
    extra = planned.layout.slots[bad.key]
    assert planned.layout.is_extra(extra)
    layout = planned.layout.revert(bad.key, None)
    assert not layout.is_extra(extra), "nothing of it is left to be swept"

    assert await backend.idle((extra,)) == {extra}


async def test_a_reload_of_ours_is_no_news_of_an_external_haproxy(site: Site) -> None:
    """It would be looked at whole after each, and the next reload given up meanwhile."""
    async with driving(site) as first:
        await first.seen()
    external = ExternalHaproxy(
        runtime_socket=site.runtime_socket, master_socket=site.master_socket, every=0.05
    )
    backend = site.backend(external)
    driver = Driver(backend, site.frontends)
    changes: list[int] = []
    backend.on_change(lambda: changes.append(1))
    await driver.start()
    await driver.seen()
    changes.clear()
    await backend.reload(
        State(driver.state.config, lay_out(driver.state.layout, (), POLICY)), REFILL
    )
    worker = (await backend._runtime.info()).pid
    await until(lambda: external.pid == worker, "the watch saw the new worker")
    assert changes == []
    await backend.close()


async def test_a_disk_that_is_full_is_not_filled_further(
    site: Site, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try would leave its half behind, under a new name."""
    await driver.to(http(), mongo())
    had = generations(site)
    write = durable.write

    def full(path: Path, content: bytes) -> None:
        if path.name == "hosts.map":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    monkeypatch.setattr(durable, "write", full)
    for _ in range(2):
        with pytest.raises(StorageError):
            await Reload(driver).prepare()
    assert generations(site) == had


@pytest.fixture
async def grown(site: Site) -> AsyncIterator[tuple[Driver, RouteKey]]:
    """With a route on a backend that was made at run time (3.4)."""
    async with driving(site) as driver:
        await driver.seen()
        backend = file_backend(driver)
        if (
            backend._observer.capabilities is None
            or not backend._observer.capabilities.dynamic_backends
        ):
            pytest.skip("this HAProxy makes no backends at run time (3.4 does)")
        first, second = (shop(1, name, sticky=CookieName("C")) for name in ("first", "second"))
        await driver.to(first)
        target = driver.state.config.with_routes(compiled(first, second))
        planned = plan(diff(driver.state.config, target), driver.state.layout, backend.growing)
        assert not planned.reasons
        assert await backend.apply(planned.steps) == {}
        driver.state = State(target, planned.layout)
        await backend.persist(driver.state, planned.steps)
        await backend._mirror.flush()
        yield driver, second.key


async def test_what_is_on_disk_includes_extra_slots(
    site: Site, grown: tuple[Driver, RouteKey]
) -> None:
    """`frontserver` compares it with what runs."""
    driver, key = grown
    slot = driver.state.layout.slots[key]
    assert read_current(site.generations).running.servers.get(slot)


async def test_a_haproxy_that_makes_no_backends_keeps_the_extra_ones_it_loaded(
    site: Site, grown: tuple[Driver, RouteKey]
) -> None:
    """An older HAProxy was installed: on disk they are backends like any other."""
    driver, key = grown
    backend = file_backend(driver)
    assert backend._observer.capabilities is not None
    backend._observer.capabilities = msgspec.structs.replace(
        backend._observer.capabilities, dynamic_backends=False
    )
    found = adopt(driver.state.config, await driver.seen(), None)
    assert key in found.layout.slots
    assert not found.strays


async def test_what_was_removed_while_haproxy_was_unknown_does_not_come_back(
    site: Site, driver: Driver
) -> None:
    """Disk says what ran before; the reload that replaces the unknown must not start from that."""
    await driver.to(http("gone"), http("kept"))
    applied = Applied(driver.backend, POLICY, driver.state.config)
    wanted = CompiledConfig(driver.state.config.frontends).with_routes(compiled(http("kept")))
    nothing = Running(frontends=None, pools={}, servers={}, maps={})
    await applied.adopted(adopt(wanted, nothing, driver.state.layout), known=False)
    changes = diff(applied.config, wanted)
    preparation = await applied.prepare(wanted, changes.routes, REFILL)
    await applied.load(preparation, preparation.changes)

    driver.state = applied.state
    assert "gone" not in text_of(site, HOSTS)
    await driver.assert_in_step()


async def test_a_duplicate_that_looks_complain_of_is_mended(site: Site, driver: Driver) -> None:
    """Somebody's, or of a crash between two lines of a map. Else each look asks for everything."""
    route = http("shop")
    await driver.to(route)
    applied = Applied(driver.backend, POLICY, driver.state.config)
    await applied.adopted(adopt(driver.state.config, await driver.seen(), None), known=True)
    look = DriftLook(driver.backend, applied)
    assert (await look.look()).as_expected
    slot = driver.state.layout.slots[route.key]
    runtime = file_backend(driver)._runtime
    await runtime.run([(f"add map {HOSTS}", f"{route.domain} {slot}")])
    assert len(await runtime.map_entries(HOSTS)) == 2
    assert not (await look.look()).as_expected

    # As the reconciler does then.
    found = adopt(driver.state.config, await driver.seen(), applied.layout)
    await applied.clear(found.strays)
    changes = diff(found.config, driver.state.config)
    await applied.take(plan(changes, applied.layout))
    assert (await look.look()).as_expected


async def test_a_reload_whose_end_nobody_saw_keeps_its_configuration(
    site: Site, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HAProxy may come to run it a moment later, and must be recognised then."""
    await driver.to(http())
    backend = file_backend(driver)
    reload = Reload(driver)
    prepared = await reload.prepare()
    answer = backend._runtime.info
    silent = False

    async def hand_over(generation: Path) -> None:
        nonlocal silent
        await backend._handover._master.reload()
        await backend._runtime.close()
        silent = True
        raise ProxyUnavailableError("HAProxy didn't answer within 5 s")

    async def info() -> Info:
        if silent:
            raise ProxyUnavailableError("HAProxy didn't answer")
        return await answer()

    monkeypatch.setattr(backend._handover, "_reload", hand_over)
    monkeypatch.setattr(backend._runtime, "info", info)
    with pytest.raises(ProxyUnavailableError):
        await reload.load(prepared)
    silent = False

    assert (await driver.seen()).frontends is not None, "it is recognised"


class Strict(Canary):
    """Finds fault with one profile."""

    def __init__(self, bad: Profile) -> None:
        self.bad = bad

    async def try_profiles(
        self, texts: Mapping[str, str], profiles: Sequence[Profile], *, dynamic: bool = False
    ) -> dict[str, Verdict]:
        return {p.id: Verdict(ok=p != self.bad, reason="it ended") for p in profiles}


async def test_a_profile_that_runs_already_does_not_forbid_every_reload(tmp_path: Path) -> None:
    """After an update of HAProxy, say: it is loaded anyhow, and others' routes aren't to blame."""
    bad, good = (Profile("http", set_request=(name,)) for name in ("x-bad", "x-good"))
    generations = Generations(tmp_path)
    generations.prepare()
    files = {"00-global.cfg": "global\n", **dict.fromkeys(MAPS, "")}
    runs = generations.write("000001", files, Manifest("f", ((bad, 1),)))
    wanted = generations.write("000002", files, Manifest("f", ((bad, 1), (good, 1))))

    async def fine(path: Path, files: Sequence[str]) -> None:
        del path, files

    judge = Judge(generations, fine, Strict(bad))
    pools = Map({p.id: Pool(p, 1) for p in (bad, good)})
    await judge.require(wanted, State(CompiledConfig(FRONTENDS), Layout(pools)), runs)


async def test_a_server_that_nobody_knows_of_goes_before_a_slot_serves(
    site: Site, driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    """However it came there, it would share the next route's requests."""
    async with origin("wanted") as wanted, origin("stray") as stray:
        await driver.to(shop(wanted, "first"))
        slot = driver.state.layout.slots[shop(wanted, "first").key]
        await driver.to()
        await swept(driver)
        driver.state = State(driver.state.config, only_free(driver.state.layout, slot))
        await file_backend(driver)._runtime.run(
            [f"add server {slot}/stray 127.0.0.1:{stray}", f"enable server {slot}/stray"]
        )

        await driver.to(shop(wanted, "second"))

        assert driver.state.layout.slots[shop(wanted, "second").key] == slot
        (wanted_name,) = (await driver.seen()).servers[slot]
        assert wanted_name != "stray"
        for _ in range(4):
            assert await ask(site.http_port, "second.apps.example.com") == (200, "wanted")
        assert f"{slot}/stray belongs to no route" in caplog.text
