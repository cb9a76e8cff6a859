"""What gets to disk, when, and what happens if that fails."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from frontserver.backends.dataplane.writer import _WEIGHTS_AT_ONCE
from frontserver.dataplane.errors import (
    DataPlaneError,
    OutcomeUnknownError,
    ReloadFailedError,
    VersionConflictError,
)
from frontserver.errors import ConfigRejectedError, ProxyUnavailableError
from frontserver.model.routes import CookieName, HealthCheck, Route, Target
from frontserver.model.targets import TargetUrl
from frontserver.planning.plan import ReloadReason
from tests.unit.backends.dataplane.fake import FakeServer
from tests.unit.backends.dataplane.world import World, addresses
from tests.unit.planning.routes import http

A, B = http("a", "http://10.0.0.1:80"), http("b", "http://10.0.0.2:80")
STICKY = http("s", "http://10.0.0.3:80", sticky=CookieName("SID"))


def on_disk(world: World) -> dict[str, set[tuple[str, int]]]:
    return world.api.led(world.api.on_disk())


def weighted(weight: int) -> Route:
    return with_targets("a", 1, weight)


def with_targets(name: str, count: int, weight: int) -> Route:
    """A route with targets of this weight."""
    urls = [TargetUrl.parse(f"http://10.0.0.{n + 1}:80") for n in range(count)]
    return msgspec.structs.replace(
        http(name), targets=tuple(Target(url, weight=weight) for url in urls)
    )


def many(targets: int, weight: int) -> list[Route]:
    """Routes that have so many targets together."""
    return [
        with_targets(f"many{n}", min(64, targets - 64 * n), weight)
        for n in range(-(-targets // 64))
    ]


async def soon(condition: object) -> None:
    """Poll until it holds."""
    assert callable(condition)
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


# --- without a reload ---


async def test_what_was_done_at_run_time_is_written_by_itself_and_without_a_reload(
    world: World,
) -> None:
    await world.begin()
    before = world.api.reloads
    await world.bring(A, B)
    assert world.backend.disk_behind > 0

    await soon(lambda: not world.backend.disk_behind)

    assert on_disk(world) == addresses(A, B)
    assert world.api.reloads == before


async def test_all_that_waits_is_one_write(world: World) -> None:
    await world.begin()
    world.api.calls.clear()
    for routes in ([A], [A, B], [B], [A, B]):
        await world.bring(*routes)
    await world.flush()

    assert len(world.api.named("replace_raw")) == 1


async def test_nothing_is_written_twice(world: World) -> None:
    await world.begin(A)
    await world.flush()
    world.api.calls.clear()
    await world.bring(A)
    await world.flush()
    assert world.api.named("replace_raw", "replace_map") == []


async def test_a_write_meets_another_version_and_is_repeated_on_top_of_that(world: World) -> None:
    await world.begin(A)
    await world.flush()
    world.api.version_in_memory = 41
    await world.bring(A, B)

    await world.flush()

    assert on_disk(world) == addresses(A, B)
    assert world.api.version_in_memory == 42


async def test_somebody_who_always_writes_first_is_given_up_on_and_met_again(world: World) -> None:
    await world.begin(A)
    await world.flush()
    await world.bring(A, B)
    world.api.fail("replace_raw", *[VersionConflictError("mismatch", status=409)] * 4)
    with pytest.raises(VersionConflictError):
        await world.flush()
    assert world.backend._writer.is_behind

    await world.flush()

    assert on_disk(world) == addresses(A, B)


@pytest.mark.parametrize(
    "error",
    [
        OutcomeUnknownError("no answer"),
        ProxyUnavailableError("no answer"),
        DataPlaneError("no space left on device", status=500),
        ConfigRejectedError("somebody's section is wrong"),
    ],
)
@pytest.mark.parametrize("call", ["replace_raw", "replace_map"])
async def test_a_write_that_fails_is_done_again_by_itself(
    world: World, call: str, error: Exception
) -> None:
    await world.begin(A)
    await world.flush()
    world.api.fail(call, error)
    await world.bring(B)

    await soon(lambda: on_disk(world) == addresses(B) and not world.backend.disk_behind)


async def test_a_write_of_which_the_answer_was_lost_is_not_taken_as_done(world: World) -> None:
    await world.begin(A)
    await world.flush()
    await world.bring(A, B)

    async def lost() -> None:
        raise OutcomeUnknownError("no answer")

    world.api.meanwhile("replace_raw", lost)
    with pytest.raises(OutcomeUnknownError):
        await world.flush()
    await world.flush()

    assert on_disk(world) == addresses(A, B)


async def test_weights_are_on_haproxy_once_they_are_persisted(world: World) -> None:
    await world.begin(weighted(100))
    await world.bring(weighted(7))

    (server,) = world.api.process.servers[world.slot(weighted(7))].values()
    assert server == FakeServer("10.0.0.1", 80, weight=7)
    assert not world.backend._writer.is_behind


async def test_weights_of_any_number_are_set_by_writes_that_the_api_takes(world: World) -> None:
    """Go's HTTP server closes the connection when headers are more than 1 MiB."""
    await world.begin(*many(2 * _WEIGHTS_AT_ONCE + 1, 100))
    world.api.calls.clear()
    await world.bring(*many(2 * _WEIGHTS_AT_ONCE + 1, 50))

    written = [actions for _, actions in world.api.named("replace_raw")]
    assert [len(actions) for actions in written] == [_WEIGHTS_AT_ONCE, _WEIGHTS_AT_ONCE, 1]
    assert max(len(";".join(actions)) for actions in written) < 1 << 18
    servers = [s for found in world.api.process.servers.values() for s in found.values()]
    assert {server.weight for server in servers if server.state == "ready"} == {50}


async def test_a_weight_of_a_server_that_is_gone_holds_up_nobody(world: World) -> None:
    await world.begin(weighted(100), B)
    world.backend._book.weigh(world.slot(B), "tgone", 7)
    await world.bring(weighted(100))

    for _ in range(2):
        await world.flush()

    assert on_disk(world) == addresses(weighted(100))
    assert not world.backend._writer.is_behind


async def test_a_takeover_waits_for_its_turn_and_a_change_for_the_takeover(world: World) -> None:
    checked, other = (http("a", f"http://10.0.0.{n}:80", check=HealthCheck()) for n in (1, 2))
    await world.begin()
    await world.bring(checked)
    changes: list[asyncio.Task[None]] = []

    async def change() -> None:
        task = asyncio.create_task(world.bring(other))
        changes.append(task)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not task.done()

    world.api.meanwhile("set_state", change)
    await world.flush()
    await changes[0]
    assert world.api.led() == addresses(other)
    await world.flush()

    assert world.api.process.servers[world.slot(other)]["prepared"] == FakeServer("10.0.0.2", 80)


# --- reloads ---


async def test_a_reload_brings_in_what_needs_one(world: World) -> None:
    await world.begin(A)
    await world.bring(A, STICKY)

    assert world.api.led() == addresses(A, STICKY)
    assert on_disk(world) == addresses(A, STICKY)
    assert not world.backend._writer.is_behind


async def test_a_refused_configuration_changes_nothing_that_runs(world: World) -> None:
    await world.begin(A)
    await world.flush()
    state = world.applied.state
    reloads = world.api.reloads
    world.api.refused = "unknown keyword"
    with pytest.raises(ConfigRejectedError, match="unknown keyword"):
        await world.backend.reload(state, (ReloadReason.POOL_REFILL,))
    world.api.refused = None

    await soon(lambda: not world.backend.disk_behind)

    assert world.api.reloads == reloads
    assert world.api.led() == on_disk(world) == addresses(A)


async def test_a_configuration_that_is_refused_only_when_it_is_written(world: World) -> None:
    """Its entries were dropped by then; they are back with the next write, by itself."""
    await world.begin(A, B)
    await world.flush()
    await world.bring(A, B)
    world.api.fail("replace_raw", ConfigRejectedError("a line"))
    with pytest.raises(ConfigRejectedError):
        await world.backend.reload(world.applied.state, (ReloadReason.POOL_REFILL,))

    await soon(lambda: on_disk(world) == addresses(A, B))


async def test_after_a_failed_reload_what_runs_is_loaded_anew(world: World) -> None:
    await world.begin(A)
    await world.bring(A, B)
    reloads = world.api.reloads

    async def works_again() -> None:
        world.api.reload_fails = None

    world.api.reload_fails = "cannot bind"
    world.api.meanwhile("replace_raw", _nothing, works_again)
    with pytest.raises(ReloadFailedError, match="cannot bind"):
        await world.backend.reload(world.applied.state, (ReloadReason.POOL_REFILL,))

    assert world.api.reloads == reloads + 1
    assert world.api.led() == on_disk(world) == addresses(A, B)
    assert not world.backend._writer.may_mend


async def test_if_that_fails_too_it_is_done_before_anything_else(world: World) -> None:
    await world.begin(A)
    world.api.reload_fails = "cannot bind"
    heard: list[bool] = []
    world.backend.on_change(lambda: heard.append(True))
    world.api.meanwhile("replace_raw", _nothing, _lost)
    with pytest.raises(ReloadFailedError):
        await world.refill()
    assert world.backend._writer.may_mend
    assert heard
    with pytest.raises(ProxyUnavailableError):
        await world.flush()

    world.api.reload_fails = None
    await world.heal(A, B)

    assert world.api.led() == on_disk(world) == addresses(A, B)


async def test_if_haproxy_refuses_what_it_runs_all_but_files_goes_on(world: World) -> None:
    """The operator's part can't be loaded, such as for a port that is taken."""
    await world.begin(weighted(100))
    await world.flush()
    world.api.reload_fails = "cannot bind"
    with pytest.raises(ReloadFailedError):
        await world.refill()
    world.api.calls.clear()

    for _ in range(3):
        await world.look(weighted(100))
        await world.bring(weighted(50), B)

    assert world.api.led() == addresses(A, B)
    assert world.api.named("load_map") == [], "HAProxy isn't made to try again and again"
    with pytest.raises(ProxyUnavailableError, match="cannot bind"):
        await world.flush()


async def test_after_a_while_that_is_tried_again(world: World) -> None:
    await world.begin(A)
    world.api.reload_fails = "cannot bind"
    with pytest.raises(ReloadFailedError):
        await world.refill()
    await world.bring(A, B)

    world.backend._writer._mend_at = 0.0
    world.api.calls.clear()
    await world.look(A, B)
    await world.look(A, B)
    assert len(world.api.named("load_map")) == 1
    world.backend._writer._mend_at = 0.0
    world.api.reload_fails = None
    await world.heal(A, B)

    assert world.api.led() == on_disk(world) == addresses(A, B)


async def test_nobody_is_searched_for_while_haproxy_refuses_what_it_runs(world: World) -> None:
    """Each try would make it refuse new connections for two seconds."""
    await world.begin(A)
    world.api.reload_fails = "cannot bind"
    world.api.calls.clear()
    with pytest.raises(ConfigRejectedError, match="cannot bind"):
        await world.bring(A, STICKY)
    assert len(world.api.named("load_map")) == 2

    with pytest.raises(ConfigRejectedError, match="cannot bind"):
        await world.bring(A, STICKY)
    assert len(world.api.named("load_map")) == 3


@pytest.mark.parametrize("done", [True, False])
async def test_a_reload_of_which_the_outcome_is_unknown_is_decided_by_the_next_look(
    world: World, *, done: bool
) -> None:
    await world.begin(A)

    async def lost() -> None:
        raise OutcomeUnknownError("no answer")

    if done:
        world.api.meanwhile("load_map", lost)
    else:
        world.api.fail("load_map", OutcomeUnknownError("no answer"))
    with pytest.raises(OutcomeUnknownError):
        await world.bring(A, STICKY)

    await world.heal(A, STICKY)

    assert world.api.led() == on_disk(world) == addresses(A, STICKY)


async def test_while_haproxy_is_down_nothing_is_written_for_it_to_load(world: World) -> None:
    """The API would fail to reload, and put back a file of which slots are others' by now."""
    await world.begin(A)
    await world.bring(A, B)
    await world.flush()
    disk = (world.api.text, dict(world.api.files))
    world.api.die()

    with pytest.raises(ProxyUnavailableError):
        await world.backend.reload(world.applied.state, (ReloadReason.POOL_REFILL,))

    assert (world.api.text, world.api.files) == disk
    assert not world.backend._writer.may_mend


async def test_a_disk_that_is_full_is_nobodys_fault(world: World) -> None:
    """No route is to be marked as refused for it."""
    await world.begin(A)
    world.api.fail("replace_raw", DataPlaneError("no space left on device", status=500))
    with pytest.raises(DataPlaneError, match="no space left"):
        await world.bring(A, STICKY)
    assert not world.backend._writer.may_mend

    await world.heal(A, STICKY)

    assert world.api.led() == on_disk(world) == addresses(A, STICKY)


async def test_a_worker_that_runs_something_else_is_not_believed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frontserver.backends.dataplane.writer._NEW_WORKER_SECONDS", 0.0)
    await world.begin(A)

    async def overtaken() -> None:
        world.api.process.servers = {}

    world.api.meanwhile("load_map", overtaken)
    with pytest.raises(ProxyUnavailableError, match="another configuration answers"):
        await world.refill()
    assert world.backend._writer.may_mend


async def _lost() -> None:
    raise OutcomeUnknownError("no answer")


async def _nothing() -> None:
    """Nothing happens."""
