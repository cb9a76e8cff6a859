"""Is a port free? HAProxy binds with SO_REUSEPORT, so two of them would share it without a word."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable

from frontserver.errors import ProcessConflictError
from frontserver.haproxy import procfs

# An IP address and a TCP port.
Bind = tuple[str, int]


def require_free(binds: Iterable[Bind]) -> None:
    """Raises `ProcessConflictError` naming the first bind that is taken or isn't this machine's.

    A port we may not bind ourselves (below 1024) is left for HAProxy to try: its file capabilities
    may allow what we can't.
    """
    for bind in binds:
        try:
            _try(bind)
        except PermissionError:
            continue
        except OSError as error:
            raise _conflict(bind, error) from error


def unused_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _try(bind: Bind) -> None:
    family = socket.AF_INET6 if ":" in bind[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Without it, our own past connections in TIME_WAIT would count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(bind)


def _conflict(bind: Bind, error: OSError) -> ProcessConflictError:
    host, port = bind
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        holder = procfs.listener(bind[1]) or "another process"
        return ProcessConflictError(
            f"{shown} is taken by {holder}",
            hint="stop it, or set another address in FRONTSERVER_*_BIND",
        )
    return ProcessConflictError(f"{shown} can't be bound: {error.strerror or error}")
