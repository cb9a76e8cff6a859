"""When disk follows: once changes pause, after a while at most, and a failure is told once."""

from __future__ import annotations

import asyncio

import pytest

from frontserver.backends import flushing as module
from frontserver.backends.flushing import Flushing
from frontserver.errors import StorageError
from frontserver.model.measurements import Unmeasured


class Disk:
    """Fails as often as `failures` says."""

    def __init__(self, *, failures: int = 0) -> None:
        self.waiting = 0
        self.flushes: list[int] = []
        self.tries = 0
        self._failures = failures

    @property
    def is_behind(self) -> bool:
        return self.waiting > 0

    async def flush(self) -> int:
        self.tries += 1
        if self.tries <= self._failures:
            raise StorageError("no room")
        taken, self.waiting = self.waiting, 0
        await asyncio.sleep(0)
        self.flushes.append(taken)
        return taken


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POLL", 0.001)
    monkeypatch.setattr(module, "_RETRY", 0.01)


async def until_written(disk: Disk, flushing: Flushing) -> None:
    async with asyncio.timeout(10):
        while disk.is_behind or flushing.behind:
            await asyncio.sleep(0.001)


def change(disk: Disk, flushing: Flushing) -> None:
    disk.waiting += 1
    flushing.soon()


async def test_changes_without_a_pause_between_them_are_one_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_QUIET", 0.3)
    disk = Disk()
    flushing = Flushing(disk, Unmeasured(), longest=60)
    for _ in range(20):
        change(disk, flushing)
        await asyncio.sleep(0.005)
    assert disk.flushes == []
    await until_written(disk, flushing)
    assert disk.flushes == [20]


async def test_what_is_coming_belongs_to_the_same_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes until it is there."""
    monkeypatch.setattr(module, "_QUIET", 0.01)
    disk = Disk()
    flushing = Flushing(disk, Unmeasured(), longest=60)
    change(disk, flushing)
    with flushing.coming():
        await asyncio.sleep(0.1)
        change(disk, flushing)
    await until_written(disk, flushing)
    assert disk.flushes == [2]


async def test_changes_that_never_pause_are_written_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_QUIET", 60)
    disk = Disk()
    flushing = Flushing(disk, Unmeasured(), longest=0.05)
    async with asyncio.timeout(10):
        while len(disk.flushes) < 3:
            change(disk, flushing)
            await asyncio.sleep(0.001)
    await until_written(disk, flushing)
    assert disk.flushes[0] > 1


async def test_a_failure_is_told_once_and_forgotten_when_it_works(
    caplog: pytest.LogCaptureFixture,
) -> None:
    recovered: list[bool] = []
    disk = Disk(failures=3)
    flushing = Flushing(disk, Unmeasured(), lambda: recovered.append(True))
    change(disk, flushing)
    async with asyncio.timeout(10):
        while disk.tries < 3:
            await asyncio.sleep(0.001)
    assert flushing.problem == "no room"
    await until_written(disk, flushing)

    assert flushing.problem is None
    assert recovered == [True]
    assert caplog.text.count("it is tried again until it works") == 1


async def test_what_cannot_be_written_yet_holds_up_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A disk that stays behind without an error is asked again later, others having had a turn."""
    monkeypatch.setattr(module, "_QUIET", 0.01)
    turns, seen = 0, list[int]()

    class Waiting(Disk):
        async def flush(self) -> int:
            seen.append(turns)
            self.waiting = int(len(seen) < 3)
            return 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.001)

    disk = Waiting()
    flushing = Flushing(disk, Unmeasured(), longest=60)
    counting = asyncio.create_task(others())
    change(disk, flushing)
    await until_written(disk, flushing)
    counting.cancel()
    assert len(set(seen)) == 3
