"""What processes cost: proc_pid_stat(5), proc_pid_io(5), proc_pid_smaps(5)."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

_TICK = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


class Usage(msgspec.Struct, frozen=True):
    """CPU seconds, bytes handed to a disk, and bytes passed to write(2) and its like."""

    cpu_s: float = 0.0
    disk_bytes: int = 0
    written_bytes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.cpu_s + other.cpu_s,
            self.disk_bytes + other.disk_bytes,
            self.written_bytes + other.written_bytes,
        )

    def since(self, before: Usage) -> Usage:
        """What was used between two looks."""
        return Usage(
            self.cpu_s - before.cpu_s,
            self.disk_bytes - before.disk_bytes,
            self.written_bytes - before.written_bytes,
        )


class Memory(msgspec.Struct, frozen=True):
    """MiB: resident, and with shared pages divided among those who share them."""

    rss_mib: float = 0.0
    pss_mib: float = 0.0

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.rss_mib + other.rss_mib, self.pss_mib + other.pss_mib)


def usage(pids: Iterable[int]) -> Usage:
    """What these processes, and children of theirs that ended, have used so far."""
    total = Usage()
    for pid in pids:
        with contextlib.suppress(OSError):
            total += _usage(pid)
    return total


def memory(pids: Iterable[int]) -> Memory:
    """What these processes occupy now."""
    total = Memory()
    for pid in pids:
        with contextlib.suppress(OSError):
            rollup = (_PROC / str(pid) / "smaps_rollup").read_text()
            total += Memory(_kib(rollup, "Rss") / 1024, _kib(rollup, "Pss") / 1024)
    return total


def children(pid: int) -> tuple[int, ...]:
    """The direct children of a process."""
    try:
        return tuple(map(int, (_PROC / f"{pid}/task/{pid}/children").read_text().split()))
    except OSError:
        return ()


def _usage(pid: int) -> Usage:
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    # utime, stime, cutime, cstime are fields 14 to 17; the first two are before the bracket.
    ticks = sum(map(int, fields[11:15]))
    io = (_PROC / str(pid) / "io").read_text()
    return Usage(ticks / _TICK, _bytes(io, "write_bytes"), _bytes(io, "wchar"))


def _bytes(text: str, name: str) -> int:
    match = re.search(rf"^{name}: (\d+)", text, re.MULTILINE)
    return int(match[1]) if match else 0


def _kib(text: str, name: str) -> int:
    match = re.search(rf"^{name}: +(\d+) kB", text, re.MULTILINE)
    return int(match[1]) if match else 0
