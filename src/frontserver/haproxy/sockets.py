"""Unix sockets of HAProxy: connect, and one question with its answer up to the end of file."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from frontserver.errors import ProxyUnavailableError

_CHUNK = 1 << 16


async def connect(path: Path, timeout: float) -> socket.socket:  # noqa: ASYNC109 - one bound for every caller
    """A connected, non-blocking socket; raises `ProxyUnavailableError` chained to the cause."""
    loop = asyncio.get_running_loop()
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        async with asyncio.timeout(timeout):
            await loop.sock_connect(connection, str(path))
    except TimeoutError as error:
        connection.close()
        raise ProxyUnavailableError(f"{path} accepts no connection within {timeout} s") from error
    except OSError as error:
        connection.close()
        raise ProxyUnavailableError(f"{path}: {error.strerror or error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def refused(error: Exception) -> bool:
    """Whether nobody listened: nothing was sent, so nothing was done."""
    return isinstance(error.__cause__, ConnectionRefusedError | FileNotFoundError)


async def ask(path: Path, data: bytes, timeout: float) -> str:  # noqa: ASYNC109
    """Send `data`, half-close, and read to the end of file.

    The half-close matters: the master's socket stays open after most answers otherwise.
    Raises `ProxyUnavailableError`; what `data` did is then unknown unless it is about connecting.
    """
    loop = asyncio.get_running_loop()
    async with _connected(path, timeout) as connection:
        try:
            async with asyncio.timeout(timeout):
                await loop.sock_sendall(connection, data)
                connection.shutdown(socket.SHUT_WR)
                answer = bytearray()
                while chunk := await loop.sock_recv(connection, _CHUNK):
                    answer += chunk
        except TimeoutError as error:
            raise ProxyUnavailableError(f"{path} gave no answer within {timeout} s") from error
        except OSError as error:
            raise ProxyUnavailableError(f"{path} closed without an answer: {error}") from error
    return answer.decode(errors="replace")


@contextlib.asynccontextmanager
async def _connected(path: Path, timeout: float) -> AsyncIterator[socket.socket]:  # noqa: ASYNC109
    connection = await connect(path, timeout)
    try:
        yield connection
    finally:
        connection.close()
