"""The demo agent's database: a real mongod with the agent's own certificate."""

from __future__ import annotations

import asyncio
import ctypes.util
import importlib.util
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from frontserver.errors import FrontServerError

_START_SECONDS = 20.0


def find_mongod() -> tuple[Path | None, str]:
    """The mongod to use, or `None` and why there is none."""
    named = os.environ.get("FRONTSERVER_MONGOD_BIN") or shutil.which("mongod")
    if named:
        return Path(named), ""
    spec = importlib.util.find_spec("fiftyone")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(location) / "db" / "bin" / "mongod"
        if path.is_file():
            if ctypes.util.find_library("curl") is None:
                return None, "mongod needs libcurl: apt-get install libcurl4"
            path.chmod(path.stat().st_mode | 0o111)
            return path, ""
    return None, "there is no mongod: install MongoDB, or pip install 'frontserver[demo]'"


class DemoDatabase:
    """mongod as a child process on a loopback port, TLS required."""

    def __init__(self, mongod: Path, directory: Path, port: int, certificates: Path) -> None:
        self._mongod = mongod
        self._directory = directory
        self.port = port
        self._certificates = certificates
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it, and wait until it listens. Raises `FrontServerError` with its log's end."""
        data = self._directory / "data"
        data.mkdir(parents=True, exist_ok=True)
        log = self._directory / "mongod.log"
        self._process = subprocess.Popen(  # noqa: ASYNC220 - it outlives this call
            [
                self._mongod,
                "--port", str(self.port), "--bind_ip", "127.0.0.1",
                "--dbpath", data, "--logpath", log,
                "--tlsMode", "requireTLS",
                "--tlsCertificateKeyFile", self._certificates / "mongodb.pem",
                "--tlsCAFile", self._certificates / "ca.crt",
                "--tlsAllowConnectionsWithoutCertificates",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Ctrl-C is for the demo, which stops it in order.
            start_new_session=True,
        )  # fmt: skip
        deadline = asyncio.get_running_loop().time() + _START_SECONDS
        while not _listens(self.port):
            late = asyncio.get_running_loop().time() > deadline
            if late or self._process.poll() is not None:
                tail = log.read_text()[-500:] if log.exists() else "it left no log"
                raise FrontServerError(f"mongod doesn't start: {tail}")
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """End it by its pid."""
        if self._process is None:
            return
        self._process.terminate()
        await asyncio.to_thread(self._process.wait)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def resolving_to_loopback(domain: str) -> Iterator[None]:
    """Within this process, `domain` is this machine: the demo has no DNS of its own."""
    real = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        return real("127.0.0.1" if host == domain else host, *args, **options)

    with mock.patch.object(socket, "getaddrinfo", resolve):
        yield


def insert_and_find(uri: str, domain: str, ca_file: Path) -> tuple[dict[str, Any], str]:
    """Write a document through the front server and read it back, everything verified.

    Returns the document and the server's version.
    """
    from pymongo import MongoClient  # noqa: PLC0415 - an extra, needed by the demo alone

    with (
        resolving_to_loopback(domain),
        MongoClient[dict[str, Any]](
            uri, tlsCAFile=str(ca_file), serverSelectionTimeoutMS=10_000
        ) as client,
    ):
        greetings = client["demo"]["greetings"]
        greetings.insert_one({"_id": "hello", "from": domain})
        found = greetings.find_one({"_id": "hello"})
        return found or {}, str(client.server_info()["version"])
