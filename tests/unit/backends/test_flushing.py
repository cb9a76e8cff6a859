"""When disk follows: what takes long is done less often, and a failure is told once."""

from __future__ import annotations

import asyncio

import pytest

from frontserver.backends import flushing as module
from frontserver.backends.flushing import Flushing
from frontserver.errors import StorageError
from frontserver.model.measurements import Unmeasured


class Disk:
    """Takes `seconds` for a flush, or fails as often as `failures` says."""

    def __init__(self, *, seconds: float = 0.0, failures: int = 0) -> None:
        self.waiting = 0
        self.flushes: list[int] = []
        self.tries = 0
        self.began: list[float] = []
        self._seconds = seconds
        self._failures = failures

    @property
    def is_behind(self) -> bool:
        return self.waiting > 0

    async def flush(self) -> int:
        self.tries += 1
        self.began.append(asyncio.get_running_loop().time())
        if self.tries <= self._failures:
            raise StorageError("no room")
        taken, self.waiting = self.waiting, 0
        await asyncio.sleep(self._seconds)
        self.flushes.append(taken)
        return taken


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DELAY", 0.01)
    monkeypatch.setattr(module, "_RETRY", 0.01)


async def until_written(disk: Disk, flushing: Flushing) -> None:
    async with asyncio.timeout(10):
        while disk.is_behind or flushing.behind:
            await asyncio.sleep(0.001)


def change(disk: Disk, flushing: Flushing) -> None:
    disk.waiting += 1
    flushing.soon()


async def test_after_one_that_took_long_more_comes_together() -> None:
    disk = Disk(seconds=0.3)
    flushing = Flushing(disk, Unmeasured())
    change(disk, flushing)
    await until_written(disk, flushing)

    changed = asyncio.get_running_loop().time()
    change(disk, flushing)
    await until_written(disk, flushing)

    assert disk.flushes == [1, 1]
    assert disk.began[1] - changed >= 0.3


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
