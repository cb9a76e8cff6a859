"""What a review found: each test states what should hold, and fails where it doesn't yet."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from frontserver.backends.file import mirror as mirror_module
from frontserver.backends.file.backend import FileBackend
from frontserver.backends.file.tree import Tree
from frontserver.backends.port import State
from frontserver.model.routes import (
    CookieName,
    HeaderEdits,
    HeaderName,
    HeaderValue,
    OriginTls,
    Route,
)
from frontserver.planning.compiled import HOSTS, VALUES, CompiledConfig
from frontserver.planning.diff import diff
from frontserver.planning.plan import lay_out, plan
from tests.unit.backends.conftest import Site
from tests.unit.backends.fileworld import (
    REFILL,
    current,
    driving,
    generations,
    shop,
    text_of,
)
from tests.unit.backends.test_contract import Driver
from tests.unit.backends.test_file_drafts import Reload
from tests.unit.planning.routes import POLICY, compiled, http, mongo

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
    assert backend._capabilities is not None
    if not backend._capabilities.dynamic_backends:
        pytest.skip("this HAProxy makes no backends at run time (3.4 does)")
    first = shop(1, "first", sticky=CookieName("C"))
    await driver.to(first)
    bad = shop(2, "bad", sticky=CookieName("C"))
    target = driver.state.config.with_routes(compiled(first, bad))
    planned = plan(diff(driver.state.config, target), driver.state.layout, backend.growing)
    assert not planned.reasons

    async def refusing(command: object) -> None:
        raise AssertionError

    said = backend._runtime.run

    async def run(commands):  # type: ignore[no-untyped-def]
        answers = await said([c if "add server" not in str(c) else "add server nonsense" for c in commands])
        return answers

    backend._runtime.run = run  # type: ignore[method-assign]
    failed = await backend.apply(planned.steps)
    backend._runtime.run = said  # type: ignore[method-assign]
    assert failed
    layout = planned.layout.revert(bad.key, None)
    (extra,) = layout.resting()
    assert layout.is_extra(extra)

    assert await backend.idle((extra,)) == {extra}
