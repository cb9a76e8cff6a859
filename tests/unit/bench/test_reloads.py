"""Reloads are timed from the outside."""

from __future__ import annotations

from bench.reloads import ReloadWatch
from harness.polling import until


class Disk:
    """The newest generation on disk, the one that runs, and how often it was looked."""

    def __init__(self) -> None:
        self.newest = "000001"
        self.runs: str | None = "000001"
        self.looks = 0

    def look(self) -> str:
        self.looks += 1
        return self.newest

    def seen(self) -> None:
        """Wait until the present state was looked at."""
        goal = self.looks + 2
        until("it was looked", lambda: self.looks >= goal)


def test_a_reload_lasts_until_the_new_generation_runs() -> None:
    disk = Disk()
    with ReloadWatch(disk.look, lambda: disk.runs) as watch:
        disk.newest = "000002"
        disk.seen()
        disk.runs = None
        disk.seen()
        assert watch.durations == []
        disk.runs = "000002"
        until("the reload is over", lambda: watch.durations)

    assert len(watch.durations) == 1
    assert 0.005 < watch.durations[0] < 5


def test_a_generation_that_is_discarded_is_no_reload() -> None:
    disk = Disk()
    with ReloadWatch(disk.look, lambda: disk.runs) as watch:
        disk.seen()
        disk.newest = "000002"
        disk.seen()
        disk.newest = "000001"
        disk.seen()

    assert watch.durations == []
