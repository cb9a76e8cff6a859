"""The program that will run at the next start or reload: which version, and is it still that."""

from __future__ import annotations

import asyncio
from pathlib import Path

from frontserver.errors import ProxyError
from frontserver.haproxy import binary


class Program:
    """A HAProxy program on disk, which an upgrade may replace at any time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: tuple[tuple[int, ...], str] | None = None

    async def version(self) -> str:
        """With its build, such as `2.8.25-5cf5d0683`; asked again when the file is another one.

        Raises `ProxyError` if it isn't there or isn't HAProxy.
        """
        try:
            status = await asyncio.to_thread(self.path.stat)
        except OSError as error:
            raise ProxyError(f"{self.path} can't be run: {error.strerror}") from error
        identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if self._known is None or self._known[0] != identity:
            self._known = identity, await binary.version(self.path)
        return self._known[1]
