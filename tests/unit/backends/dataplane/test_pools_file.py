"""The pools file: what HAProxy would load at any moment fits together, whatever has failed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from frontserver.backends.dataplane.pools_file import NAME, PoolsFile
from frontserver.errors import ConfigRejectedError, ProxyUnavailableError
from tests.unit.backends.dataplane.fake import Died, FakeApi
from tests.unit.backends.dataplane.world import World
from tests.unit.planning.routes import http

A, B, C = (http(name, f"http://10.0.0.1:300{n}") for n, name in enumerate("abc", start=1))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """HAProxy reads the pools file, and so does its check."""
    made = World(tmp_path)
    made.api.files[NAME] = ""
    made.api.read_after = made.api.checked_after = NAME
    yield made
    await made.abandon()


def pools(world: World) -> int:
    """How many sections of pools the API's own file has."""
    return world.api.text.count("\nbackend p")


async def settled(world: World) -> None:
    """A route runs, and the pools are in their own file."""
    await world.begin(A)
    await world.flush()


async def test_pools_leave_the_configuration_once_haproxy_was_seen_to_read_their_file(
    world: World,
) -> None:
    await world.begin(A)
    assert pools(world)

    await world.flush()

    assert not pools(world)
    assert world.api.led() == world.api.led(world.api.on_disk()) != {}


async def test_a_route_is_written_without_the_configuration(world: World) -> None:
    await settled(world)
    world.api.calls.clear()

    await world.bring(A, B)
    await world.flush()

    assert world.api.named("replace_raw") == []
    assert len(world.api.named("replace_general")) == 1
    assert world.api.led(world.api.on_disk()) == world.api.led()
    assert len(world.api.led()) == 2


async def test_one_configuration_is_kept_once_all_is_well(world: World) -> None:
    await settled(world)
    await world.refill()
    await world.bring(A, B)
    await world.flush()
    await world.bring(A, B, C)
    await world.flush()
    assert world.api.files[NAME].count("\n.if ") == 1


async def test_a_reload_leaves_the_pools_in_their_file(world: World) -> None:
    await settled(world)
    await world.refill()
    assert not pools(world)
    assert world.api.led() == world.api.led(world.api.on_disk()) != {}


@pytest.mark.parametrize("error", ["it doesn't come up", None])
async def test_after_a_failed_reload_a_cold_start_brings_what_ran(
    world: World, error: str | None
) -> None:
    """The API puts the configuration of the last reload back, which had the pools in it or not."""
    await world.begin(A)
    if error is None:
        await world.flush()
    before = world.api.led()
    world.api.reload_fails = "it doesn't come up"
    with pytest.raises(ConfigRejectedError):
        await world.refill()
    assert world.api.led(world.api.on_disk()).items() <= before.items()

    world.api.reload_fails = None
    world.backend._writer._mend_at = 0.0
    await world.heal(A, B)
    assert len(world.api.led()) == 2
    assert world.api.led(world.api.on_disk()) == world.api.led()


async def test_killed_anywhere_a_cold_start_finds_no_wrong_server(world: World) -> None:
    """Before each call of a route, of the write that follows, and of a reload."""
    await settled(world)
    right = {"a.apps.example.com": {("10.0.0.1", 3001)}, "b.apps.example.com": {("10.0.0.1", 3002)}}
    for calls in range(200):
        world.api.stop_at = len(world.api.calls) + calls
        try:
            await world.bring(A, B)
            await world.flush()
            await world.refill()
            await world.flush()
        except Died:
            done = False
        else:
            done = True
        world.api.stop_at = None
        cold = world.api.led(world.api.on_disk())
        assert cold.items() <= right.items()
        assert "a.apps.example.com" in cold
        if done:
            break
        await world.kill()
        world.api.restart()
        await world.start()
        await world.heal(A, B)
        assert world.api.led() == right
        await world.bring(A)
        await world.flush()
    assert done


async def test_a_haproxy_that_does_not_read_it_gets_everything_in_one_file(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.api.read_after = None
    await world.begin(A)
    await world.flush()
    assert pools(world)
    assert "HAProxy doesn't read it; name it as the last file" in caplog.text


async def test_a_check_that_does_not_read_it_judges_everything_in_one_file(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.api.checked_after = None
    await world.begin(A)
    await world.flush()
    assert pools(world)
    assert "validate_files_after" in caplog.text
    assert world.api.led(world.api.on_disk()) == world.api.led()


async def test_an_api_that_comes_back_with_another_check_is_asked_anew(world: World) -> None:
    await settled(world)
    world.api.checked_after = None
    await world.start()
    await world.flush()
    assert pools(world)
    assert world.api.led(world.api.on_disk()) == world.api.led() != {}

    world.api.checked_after = NAME
    await world.start()
    await world.flush()
    assert not pools(world)


async def test_a_haproxy_started_without_it_gets_everything_anew(world: World) -> None:
    await settled(world)
    served = world.api.led()
    world.api.read_after = None
    world.api.restart()

    await world.heal(A)

    assert pools(world)
    assert world.api.led() == served
    assert world.api.led(world.api.on_disk()) == served


async def test_another_control_plane_goes_on_with_it(world: World) -> None:
    await settled(world)
    reloads = world.api.reloads
    await world.kill()
    await world.start()
    await world.look(A)
    await world.bring(A, B)
    await world.flush()
    assert world.api.reloads == reloads
    assert not pools(world)
    assert world.api.led(world.api.on_disk()) == world.api.led()


async def test_what_is_only_checked_pushes_nothing_out_that_runs() -> None:
    api = FakeApi()
    api.files[NAME] = ""
    file = PoolsFile(api.client)
    await file.put("runs", "backend r\n", alone=True, running="runs")
    for number in range(5):
        await file.put(f"tried-{number}", "backend t\n", alone=False, running="runs")
    assert '"$FS_POOLS",runs)' in api.files[NAME]
    assert api.files[NAME].count("\n.if ") == 4


async def test_a_file_that_could_not_be_written_is_read_again() -> None:
    api = FakeApi()
    api.files[NAME] = ""
    file = PoolsFile(api.client)
    await file.put("runs", "backend r\n", alone=False, running="runs")
    api.fail("replace_general", ProxyUnavailableError("no answer"))
    with pytest.raises(ProxyUnavailableError):
        await file.put("next", "backend n\n", alone=False, running="runs")
    await file.put("next", "backend n\n", alone=False, running="runs")
    assert api.files[NAME].count("\n.if ") == 2
    assert await file.put("next", "backend n\n", alone=False, running="runs") == 0


async def test_an_edit_by_hand_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontserver.backends.dataplane.pools_file._LOOK_SECONDS", 0)
    monkeypatch.setattr("frontserver.backends.dataplane.pools_file._LOOK_RARITY", 0)
    api = FakeApi()
    api.files[NAME] = ""
    file = PoolsFile(api.client)
    assert not await file.was_edited(), "nothing was written yet"
    await file.put("runs", "backend r\n", alone=True, running="runs")
    assert not await file.was_edited()
    api.files[NAME] += "# added\n"
    assert await file.was_edited()


async def test_an_edit_is_looked_for_now_and_then() -> None:
    api = FakeApi()
    api.files[NAME] = ""
    file = PoolsFile(api.client)
    await file.put("runs", "backend r\n", alone=True, running="runs")
    for _ in range(3):
        await file.was_edited()
    assert len(api.named("general_content")) == 1


# --- what happens in between ---


async def test_what_is_refused_never_gets_into_the_file(world: World) -> None:
    """HAProxy stumbles over some of what it skips, such as half a quote."""
    await settled(world)
    before = world.api.files[NAME]
    world.api.refused = "unmatched quote"
    with pytest.raises(ConfigRejectedError):
        await world.refill()
    assert world.api.files[NAME] == before


async def test_a_haproxy_started_without_it_and_reloaded_before_that_is_seen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frontserver.backends.dataplane.writer._NEW_WORKER_SECONDS", 0.05)
    await settled(world)
    served = world.api.led()
    world.api.read_after = None
    world.api.restart()
    with pytest.raises(ProxyUnavailableError, match="another configuration answers"):
        await world.refill()

    await world.heal(A)

    assert world.api.led() == served


async def test_a_doubt_while_the_pools_are_written_has_all_written_again(world: World) -> None:
    """The API was away, and its file lost what chooses the pools."""
    await settled(world)
    await world.bring(A, B)
    world.api.text = world.api.text.replace("    setenv FS_POOLS", "    # setenv FS_POOLS")

    async def doubted() -> None:
        world.backend._writer.edited()

    world.api.meanwhile("replace_general", doubted)
    await world.flush()
    assert world.backend._writer.is_behind
    await world.flush()
    assert world.api.led(world.api.on_disk()) == world.api.led()
    assert world.backend._writer.version == world.api.version_in_memory


async def test_an_action_that_failed_leaves_the_version_known(world: World) -> None:
    """Else an edit of the configuration wouldn't be noticed before the next reload."""
    await settled(world)
    await world.bring(A, B)
    world.backend._book.weights["gone", "gone"] = 5
    await world.flush()
    await world.flush()
    assert world.backend._writer.version == world.api.version_in_memory


async def test_what_was_edited_in_a_block_is_not_written_back(world: World) -> None:
    await settled(world)
    await world.refill()
    first = world.api.files[NAME].index("\n", world.api.files[NAME].index("\n.if ") + 1)
    text = world.api.files[NAME]
    assert text.count("\n.if ") > 1
    world.api.files[NAME] = f"{text[:first]}\n.if feature(OPENSSL){text[first:]}"
    world.backend._writer.edited()
    await world.flush()
    assert ".if feature" not in world.api.files[NAME]
    assert world.api.led(world.api.on_disk()) == world.api.led()


async def test_a_check_that_fails_for_another_reason_is_asked_again(world: World) -> None:
    await world.begin(A)
    world.api.refused = "haproxy.cfg:3: unknown keyword"
    with pytest.raises(ConfigRejectedError):
        await world.flush()
    world.api.refused = None
    await world.flush()
    assert not pools(world)


async def test_a_file_that_cannot_be_looked_at_disturbs_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frontserver.backends.dataplane.pools_file._LOOK_SECONDS", 0)
    monkeypatch.setattr("frontserver.backends.dataplane.pools_file._LOOK_RARITY", 0)
    await settled(world)
    changes: list[None] = []
    world.backend.on_change(lambda: changes.append(None))
    world.api.fail("general_content", ProxyUnavailableError("permission denied"))
    await world.backend._look_for_edits()
    assert changes == []
    world.api.files[NAME] += "# added\n"
    await world.backend._look_for_edits()
    assert world.backend._writer.is_behind


async def test_a_configuration_that_was_not_loaded_yet_keeps_its_block(world: World) -> None:
    """Killed between the write and the reload: a cold start has it, and checks take nothing."""
    await settled(world)

    async def die() -> None:
        raise Died

    world.api.meanwhile("replace_raw", die)
    with pytest.raises(Died):
        await world.refill()
    await world.kill()
    await world.start()
    await world.look(A)
    for number in range(4):
        await world.backend._writer.validate(world.applied.state, f"000000-{number:08d}")
    assert world.api.led(world.api.on_disk()) == world.api.led() != {}
