"""Starting a process that outlives us: a session of its own, and nothing of ours but a lock."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from frontserver.errors import ProxyError
from frontserver.haproxy.binary import environment

_LOCK_DESCRIPTOR = 3
_LOG_LIMIT = 5 << 20


def spawn(command: Sequence[str], *, log: Path, lock: int) -> int:
    """Start `command` (an absolute path and arguments), output appended to `log`; returns its PID.

    `lock` is inherited, so that it is held as long as the process or a child of it lives: HAProxy
    leaves it open through reloads (seen on 2.8, 3.0, 3.2 and 3.4). Raises `ProxyError`.
    """
    appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), appending, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
        *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inheritable()),
        (os.POSIX_SPAWN_DUP2, lock, _LOCK_DESCRIPTOR),
    ]
    try:
        return os.posix_spawn(
            command[0],
            list(command),
            environment(),
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            # Python ignores it, and what is ignored stays so in a new program.
            setsigdef=[signal.SIGPIPE],
        )
    except OSError as error:
        raise ProxyError(f"{command[0]} can't be started: {error.strerror}") from error


def rotate(log: Path) -> int:
    """Make room in the log if it has grown too long; returns its size, where new lines begin."""
    length = size(log)
    if length <= _LOG_LIMIT:
        return length
    log.replace(log.with_name(log.name + ".1"))
    return 0


def size(log: Path) -> int:
    """In bytes; 0 if there is none."""
    try:
        return log.stat().st_size
    except FileNotFoundError:
        return 0


def tail(log: Path, start: int, limit: int = 2000) -> str:
    """What was logged since `start`, at most the last `limit` characters."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace").strip()[-limit:]
    return ""


def _inheritable() -> list[int]:
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, not paths
        with contextlib.suppress(OSError):
            if int(name) > 2 and os.get_inheritable(int(name)):
                found.append(int(name))
    return found
