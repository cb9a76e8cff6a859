"""Everything together: a front server, agents, origins and mongods, ended for certain.

with NativeStack() as stack:
    agent = stack.agent("a1")
    agent.register()
    agent.http("shop", stack.origin("shop").url)
    assert stack.get("shop").json()["origin"] == "shop"
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from harness.agent import AgentApi, AgentProgram
from harness.certificates import ThrowawayCa
from harness.dataplane import DataPlane, find_dataplane
from harness.evidence import collect
from harness.frontserver import APP_DOMAIN, MONGO_DOMAIN, FrontServer
from harness.haproxy import find_haproxy
from harness.mongo import Mongod
from harness.names import resolve_to_loopback
from harness.origin import Origin

_live: list[NativeStack] = []


def live() -> tuple[NativeStack, ...]:
    """The stacks that are open now."""
    return tuple(_live)


def chosen_backend() -> str:
    """What stacks drive HAProxy with unless told otherwise: HARNESS_BACKEND, else `file`."""
    return os.environ.get("HARNESS_BACKEND", "file")


class StackAgent:
    """One agent of a stack: `program` as in the field, `api` by plain requests."""

    def __init__(self, stack: NativeStack, agent_id: str, key: str | None = None) -> None:
        key = key or secrets.token_hex(16)
        url = stack.front.api_url
        self.agent_id = agent_id
        self.key = key
        self.domain = f"{agent_id}.{MONGO_DOMAIN}"
        self.directory = stack.directory / "agents" / agent_id
        self.program = AgentProgram(agent_id, key, url=url, directory=self.directory)
        self.api = AgentApi(agent_id, key, url=url)

    def register(self) -> Any:
        """Register by the program."""
        return self.program.register()

    def http(self, subdomain: str, target: str, **options: Any) -> Any:
        """An HTTP route by the program, active."""
        return self.program.http(subdomain, target, **options)

    def mongodb(self, mongod: Mongod) -> Any:
        """The MongoDB route by the program, active."""
        return self.program.mongodb(mongod)

    @property
    def ca_file(self) -> Path:
        """The CA that its clients verify against, once certificates were fetched."""
        return self.program.certificates / "ca.crt"


class NativeStack:
    """The product with a HAProxy of its own, and what agents bring along. A context manager.

    `backend` is `file` or `dataplane`, by default what HARNESS_BACKEND says, else `file`. `https`
    gives it a wildcard certificate by a throwaway CA; `environ` adds or replaces FRONTSERVER_
    settings; with `start=False` the test starts `front` itself. `dataplane` is handed on to
    `DataPlane`; its `directory` must have a short path. Within the block names below the
    application and the MongoDB domain resolve to loopback.
    """

    def __init__(
        self,
        *,
        haproxy: Path | None = None,
        mongod: Path | None = None,
        https: bool = False,
        environ: Mapping[str, str] | None = None,
        start: bool = True,
        backend: str | None = None,
        dataplane: Mapping[str, Any] | None = None,
    ) -> None:
        self.backend = backend or chosen_backend()
        # Short: the paths of Unix sockets are made from it.
        self.directory = Path(tempfile.mkdtemp(prefix="fs-"))
        self.ca = ThrowawayCa(self.directory / "ca")
        haproxy = haproxy or find_haproxy()
        self.dataplane: DataPlane | None = None
        if self.backend == "dataplane":
            given = {"directory": self.directory / "dp", **(dataplane or {})}
            self.dataplane = DataPlane(**given, program=find_dataplane(), haproxy=haproxy)
        self.front = FrontServer(
            self.directory,
            haproxy=haproxy,
            dataplane=self.dataplane,
            https_certificate=self.ca.issue(f"*.{APP_DOMAIN}") if https else None,
            environ=environ,
        )
        self._mongod_binary = mongod
        self._start = start
        self._parts = contextlib.ExitStack()
        trust = ssl.create_default_context(cafile=self.ca.file)
        # A connection for each request: a kept one would be answered by the worker of its time.
        self.client = httpx.Client(
            trust_env=False,
            timeout=15,
            verify=trust,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    # --- parts ---

    def agent(self, agent_id: str, key: str | None = None) -> StackAgent:
        """An agent of this id; it isn't registered yet."""
        agent = StackAgent(self, agent_id, key)
        self._parts.callback(agent.api.close)
        return agent

    def registered(self, agent_id: str) -> StackAgent:
        """An agent that is registered already, by a plain request."""
        agent = self.agent(agent_id)
        agent.api.register().raise_for_status()
        return agent

    def origin(self, name: str, *, tls: Path | None = None) -> Origin:
        """A running origin."""
        return self._parts.enter_context(Origin(name, tls=tls))

    def mongod(self, name: str) -> Mongod:
        """A mongod with a configuration without TLS, not running yet."""
        mongod = Mongod(self.directory / "mongod" / name, binary=self._mongod_binary)
        self._parts.callback(mongod.stop)
        return mongod

    def secured_mongod(self, agent: StackAgent) -> Mongod:
        """A running mongod with the certificates of `agent`, without its dry run."""
        agent.program.fetch_certificates()
        mongod = Mongod(
            self.directory / "mongod" / agent.agent_id,
            binary=self._mongod_binary,
            certificate=agent.program.certificates / "mongodb.pem",
            ca=agent.ca_file,
        )
        self._parts.callback(mongod.stop)
        return mongod.start()

    # --- traffic through HAProxy ---

    def url(self, subdomain: str, path: str = "/", *, scheme: str = "http") -> str:
        """The URL of a site below the application domain, by its real name."""
        port = self.front.https_port if scheme in {"https", "wss"} else self.front.http_port
        return f"{scheme}://{subdomain}.{APP_DOMAIN}:{port}{path}"

    def get(self, subdomain: str, path: str = "/", **kwargs: Any) -> httpx.Response:
        """GET of a site through HAProxy over plain HTTP."""
        return self.client.get(self.url(subdomain, path), **kwargs)

    # --- the life of it ---

    def evidence(self, target: Path) -> None:
        """Copy what is known about this stack to `target`."""
        collect(self.front, target)

    def __enter__(self) -> Self:
        _live.append(self)
        try:
            self._parts.enter_context(resolve_to_loopback([APP_DOMAIN, MONGO_DOMAIN]))
            if self.dataplane is not None:
                self._parts.enter_context(self.dataplane)
            self._parts.callback(self.front.clean_up)
            if self._start:
                self.front.start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        try:
            self.client.close()
            self._parts.close()
        finally:
            _live.remove(self)
            shutil.rmtree(self.directory, ignore_errors=True)
