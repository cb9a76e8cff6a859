"""Ending a TCP connection without an orderly end."""

from __future__ import annotations

import contextlib
import socket
import struct

# Linger for no time (socket(7)): what isn't sent yet is dropped, and the other side gets a reset.
_AT_ONCE = struct.pack("ii", 1, 0)


def reset(connection: socket.socket) -> None:
    """Reset a connection, which may be gone already; whoever reads from it is woken."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RD)
    connection.close()
