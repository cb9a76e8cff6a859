"""The way in: one client for one Data Plane API and the HAProxy behind it."""

from __future__ import annotations

from pathlib import Path

import httpx
import msgspec

from frontserver.dataplane.configuration import Configuration
from frontserver.dataplane.connection import Connection, decoded
from frontserver.dataplane.runtime import Runtime
from frontserver.dataplane.storage import Storage


class _Api(msgspec.Struct):
    version: str = ""


class _Info(msgspec.Struct):
    api: _Api


_info = msgspec.json.Decoder(_Info)


class DataPlaneClient:
    """Keeps its connections; `close` lets them go.

    `url` is where the API listens, with or without `/v3`. `ca` is what its certificate is checked
    with instead of the system's, `certificate` and `key` are ours (PEM files). `timeout` is in
    seconds, for an ordinary call: runtime calls wait 5 at most, writes of a whole configuration
    twice as long. `transport` takes the network's place in tests.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str | None,
        password: str | None,
        ca: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        timeout: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._connection = Connection(
            url,
            user=user,
            password=password,
            ca=ca,
            certificate=certificate,
            key=key,
            timeout=timeout,
            transport=transport,
        )
        self.configuration = Configuration(self._connection)
        self.runtime = Runtime(self._connection)
        self.storage = Storage(self._connection)

    async def api_version(self) -> str:
        """The API's own version, such as `3.2.13`; a binary built by hand says anything here."""
        return decoded(await self._connection.send("GET", "/info"), _info).api.version.strip()

    async def close(self) -> None:
        """Let go of all connections."""
        await self._connection.close()
