"""The backend as a whole: what it starts with, notices, and leaves behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from frontserver.backends.dataplane import backend as module
from frontserver.backends.port import Leftovers
from frontserver.dataplane.errors import DataPlaneError, ReloadFailedError
from frontserver.errors import ProxyUnavailableError
from frontserver.model.routes import CookieName
from frontserver.planning.actions import PutBackend
from frontserver.planning.limits import RuntimeLimits
from frontserver.planning.plan import ReloadReason
from tests.unit.backends.dataplane.world import World, addresses
from tests.unit.planning.routes import http

A, B = http("a", "http://10.0.0.1:80"), http("b", "http://10.0.0.2:80")
STICKY = http("s", "http://10.0.0.3:80", sticky=CookieName("SID"))


async def until_heard(world: World) -> asyncio.Event:
    event = asyncio.Event()
    world.backend.on_change(event.set)
    return event


async def test_what_it_cannot_do_is_said(world: World) -> None:
    await world.begin()
    backend = world.backend
    assert backend.limits != RuntimeLimits()
    assert backend.growing == frozenset()
    assert await backend.leftovers() == Leftovers()
    step = PutBackend("p1.0", "p1")
    with pytest.raises(Exception, match="makes no backends"):
        await backend.perform([step])


@pytest.mark.parametrize(
    ("value", "is_limited"),
    [
        ("accept, key, origin", True),
        ("accept,value,origin", True),
        ("a,b  ,  key  ,c", True),
        ("key, accept, value", False),
        ("accept, keys, a key, key=1, origin", False),
    ],
)
async def test_values_that_the_api_fails_to_read_back_need_a_reload(
    world: World, value: str, is_limited: bool
) -> None:
    unsayable = world.backend.limits.unsayable
    assert unsayable is not None
    assert (unsayable.search(value) is not None) is is_limited


async def test_without_haproxy_it_does_not_start_and_writes_nothing(world: World) -> None:
    world.api.die()
    with pytest.raises(ProxyUnavailableError):
        await world.start()
    assert world.api.files == {}


async def test_another_worker_is_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WATCH_SECONDS", 0.01)
    await world.begin(A)
    heard = await until_heard(world)

    world.api.restart()

    async with asyncio.timeout(10):
        await heard.wait()


async def test_what_haproxy_refused_is_tried_again_by_itself(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WATCH_SECONDS", 0.01)
    await world.begin(A)
    world.api.reload_fails = "cannot bind"
    with pytest.raises(ReloadFailedError):
        await world.refill()
    heard = await until_heard(world)

    world.backend._writer._mend_at = 0.0

    await asyncio.wait_for(heard.wait(), 10)


async def test_a_haproxy_that_goes_and_one_that_comes_back_are_noticed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WATCH_SECONDS", 0.01)
    await world.begin(A)
    heard = await until_heard(world)
    world.api.die()
    async with asyncio.timeout(10):
        await heard.wait()

    heard.clear()
    world.api.down = False

    async with asyncio.timeout(10):
        await heard.wait()


async def test_a_reload_of_our_own_is_no_news(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WATCH_SECONDS", 0.0)
    await world.begin(A)
    heard = await until_heard(world)

    async def looks_go_on() -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    world.api.meanwhile("load_map", looks_go_on)
    await world.refill()

    assert not heard.is_set()
    assert world.backend._observer.worker == world.api.pid


async def test_a_worker_with_older_files_is_mended(world: World) -> None:
    await world.begin(A)
    await world.flush()
    await world.bring(B)
    world.api.restart()
    assert world.api.led() == addresses(A)

    await world.heal(B)

    assert world.api.led() == world.api.led(world.api.on_disk()) == addresses(B)


async def test_memory_and_file_of_the_api_that_differ_are_brought_together(world: World) -> None:
    """So they are after somebody's reload failed; the next write would fail too."""
    await world.begin(A)
    await world.flush()
    world.api.version_in_memory += 1
    reloads = world.api.reloads

    await world.heal(A)

    assert world.api.reloads == reloads + 1
    assert f"# _version={world.api.version_in_memory}\n" in world.api.text
    assert world.api.led() == addresses(A)


async def test_so_they_are_by_a_control_plane_that_comes_new(world: World) -> None:
    """It must first see what runs, and is told to look again."""
    await world.begin(A)
    await world.flush()
    world.api.version_in_memory += 1
    await world.kill()
    heard = await until_heard(world)
    await world.start()
    await world.look(A)
    assert heard.is_set()

    await world.heal(A)

    assert f"# _version={world.api.version_in_memory}\n" in world.api.text
    assert not world.backend._writer.may_mend


async def test_a_write_that_goes_on_is_not_taken_for_disagreement(world: World) -> None:
    await world.begin(A)
    await world.flush()
    await world.bring(A, B)
    reloads = world.api.reloads
    looks: list[asyncio.Task[object]] = []

    async def look() -> None:
        text, world.api.text = world.api.text, "# _version=1\n"
        looks.append(asyncio.create_task(world.backend.observe()))
        for _ in range(50):
            await asyncio.sleep(0)
        world.api.text = text

    world.api.meanwhile("replace_raw", look)
    await world.flush()
    await looks[0]

    assert world.api.reloads == reloads


async def test_what_runs_stays_known_however_often_a_reload_is_refused(world: World) -> None:
    await world.begin(A)
    for _ in range(10):
        world.api.fail("load_map", DataPlaneError("strange", status=500))
        with pytest.raises(DataPlaneError):
            await world.refill()

    assert (await world.backend.observe()).frontends is not None


async def test_closing_writes_what_waits_and_lets_haproxy_go_on(world: World) -> None:
    await world.begin(A)
    await world.bring(A, B)

    await world.backend.close()

    assert world.api.led() == world.api.led(world.api.on_disk()) == addresses(A, B)
    assert world.api.calls[-1][0] == "close"


async def test_closing_without_the_api_is_no_failure(world: World) -> None:
    await world.begin(A)
    await world.bring(A, B)
    world.api.fail("replace_raw", ProxyUnavailableError("no answer"))

    await world.backend.close()

    assert world.api.calls[-1][0] == "close"


async def test_a_check_asks_and_changes_nothing(world: World) -> None:
    await world.begin(A)
    await world.flush()
    text, reloads = world.api.text, world.api.reloads

    prepared = await world.backend.prepare(world.applied.state)
    await world.backend.discard(prepared)

    assert (world.api.text, world.api.reloads) == (text, reloads)
    assert world.api.named("validate_raw")


async def test_in_a_shared_file_the_operators_sections_stay(tmp_path: Path) -> None:
    world = World(tmp_path, shared=True)
    try:
        world.api.text = "global\n    maxconn 100\n# mine\nbackend mine\n    server x 10.9.9.9:1\n"
        named = world.api.text.replace("backend mine", "backend mine from unnamed_defaults_1")
        theirs = f"defaults unnamed_defaults_1\n{named}"
        await world.begin(A)
        await world.bring(A, B)
        await world.flush()
        await world.refill()

        assert world.api.text.startswith(f"# _version={world.api.version_in_memory}\n{theirs}")
        assert world.api.led() == world.api.led(world.api.on_disk()) == addresses(A, B)
        assert world.api.text.count("frontend fs_in_http") == 1
    finally:
        await world.abandon()


async def test_the_reason_for_a_reload_is_said(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.begin(A)
    with caplog.at_level("INFO", logger="frontserver.backends.dataplane"):
        await world.backend.reload(world.applied.state, (ReloadReason.RUNTIME_LIMITS,))
    assert "runtime-limits" in caplog.text
