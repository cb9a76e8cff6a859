"""Processes of this machine as /proc shows them (proc(5)). Everything may vanish while we look."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_TCP_LISTEN = "0A"


def ours(master_socket: Path) -> list[int]:
    """Every process started with `-S MASTER_SOCKET…`: the master, its workers, old ones too."""
    socket = str(master_socket)
    return [pid for pid in _pids() if socket in (v.split(",")[0] for v in _values_of(pid, "-S"))]


def local_peer(name: str) -> list[int]:
    """Every process started with `-L NAME`."""
    return [pid for pid in _pids() if name in _values_of(pid, "-L")]


def cpu_seconds(pid: int) -> float:
    """How long a process has computed so far, all threads together; 0 if it is gone."""
    try:
        # The second field, a name in brackets, may hold blanks.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def listener(port: int) -> str | None:
    """Who listens on a TCP port, as `haproxy (PID 123)`, if we are allowed to know."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for pid in _pids() if sockets else ():
        with contextlib.suppress(OSError):
            for descriptor in (_PROC / str(pid) / "fd").iterdir():
                if _target(descriptor) in sockets:
                    name = (_PROC / str(pid) / "comm").read_text().strip()
                    return f"{name} (PID {pid})"
    return None


def most_files(pid: int) -> int | None:
    """How many files a HAProxy may open, at the most that it can ask for; `None` if unknown."""
    try:
        if not (_PROC / str(pid) / "comm").read_text().startswith("haproxy"):
            return None  # It runs elsewhere, and its number is somebody else's here.
        limits = (_PROC / str(pid) / "limits").read_text()
    except OSError:
        return None
    found = re.search(r"^Max open files +\S+ +(\d+)", limits, re.MULTILINE)
    return int(found[1]) if found else None


def private_memory(pid: int) -> int:
    """The bytes of memory that a process shares with no other; 0 if that can't be told."""
    try:
        _, resident, shared, *_ = (_PROC / str(pid) / "statm").read_text().split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGESIZE")


def is_working_directory(directory: Path) -> bool:
    """Whether a process that we may look at works in a directory."""
    target = os.path.realpath(directory)
    return any(_target(_PROC / str(pid) / "cwd") == target for pid in _pids())


def _pids() -> Iterator[int]:
    yield from (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())


def _values_of(pid: int, flag: str) -> list[str]:
    """What follows each `flag` on a process's command line."""
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
    arguments = [os.fsdecode(word) for word in words]
    return [value for name, value in itertools.pairwise(arguments) if name == flag]


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _TCP_LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]
