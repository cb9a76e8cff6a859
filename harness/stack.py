"""Everything together: a front server, agents, origins and mongods, ended for certain.

with Stack() as stack:
    agent = stack.agent("a1")
    agent.register()
    agent.http("shop", stack.origin("shop").url)
    assert stack.get("shop").json()["origin"] == "shop"
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import ssl
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from harness.agent import AgentApi, AgentProgram
from harness.certificates import ThrowawayCa
from harness.choice import checked_settings, chosen_backend, chosen_mongodb, make_parts
from harness.dataplane import DataPlane
from harness.errors import HarnessError
from harness.evidence import Evidence, collect, logs_below, shelf
from harness.frontserver import APP_DOMAIN, MONGO_DOMAIN, FrontServer
from harness.mongo import Mongod
from harness.names import resolve_to_loopback
from harness.origin import Origin
from harness.parts import Parts
from harness.postgresql import Postgresql
from harness.replicaset import MEMBERS, ReplicaSet

_PREFIX = "fs-"
_live: list[Stack] = []


def live() -> tuple[Stack, ...]:
    """The stacks that are open now."""
    return tuple(_live)


class StackAgent:
    """One agent of a stack: `program` as in the field, `api` by plain requests."""

    def __init__(self, stack: Stack, agent_id: str, key: str | None = None) -> None:
        key = key or secrets.token_hex(16)
        url = stack.front.api_url
        self.agent_id = agent_id
        self.key = key
        self.domain = f"{agent_id}.{MONGO_DOMAIN}"
        self.directory = stack.directory / "agents" / agent_id
        self.program = AgentProgram(
            agent_id,
            key,
            url=url,
            directory=self.directory,
            environ=stack.parts.agent_settings,
        )
        self.api = AgentApi(agent_id, key, url=url)
        self._registered = False

    def register(self) -> Any:
        """Register by the program."""
        answer = self.program.register()
        self._registered = True
        return answer

    def register_plainly(self) -> None:
        """Register by a plain request."""
        self.api.register().raise_for_status()
        self._registered = True

    def http(self, subdomain: str, target: str, **options: Any) -> Any:
        """An HTTP route by the program, active; an agent that is new registers first."""
        self._register_once()
        return self.program.http(subdomain, target, **options)

    def mongodb(self, mongod: Mongod) -> Any:
        """The MongoDB route by the program, active; an agent that is new registers first."""
        self._register_once()
        return self.program.mongodb(mongod)

    def _register_once(self) -> None:
        if not self._registered:
            self.register()

    @property
    def ca_file(self) -> Path:
        """The CA that its clients verify against, once certificates were fetched."""
        return self.program.certificates / "ca.crt"


class Stack:
    """The product with a HAProxy of its own, and what agents bring along. A context manager.

    `backend` is `file` or `dataplane`, `haproxy` a version such as `3.4`, `where` is `native` or
    `containers`, `mongodb` is `single` or `replica-set`; what isn't said is as HARNESS_BACKEND,
    HARNESS_HAPROXY, HARNESS_WHERE and HARNESS_MONGODB say (see `choice`). `parts` may be given
    instead of version and place. `https` gives it a wildcard certificate by a throwaway CA;
    `environ` adds or replaces FRONTSERVER_ settings, but those of `choice.OWNED`; with
    `start=False` the test starts `front` itself. `dataplane` is handed on to `DataPlane`, with
    `pools` where files are apart; its `directory` must have a short path. Within the block names
    below the application and the MongoDB domain resolve to loopback, in this process alone.

    Raises `UnavailableError` for what isn't here, and `HarnessError` for what there isn't.
    """

    def __init__(
        self,
        *,
        haproxy: str | None = None,
        where: str | None = None,
        mongodb: str | None = None,
        parts: Parts | None = None,
        https: bool = False,
        environ: Mapping[str, str] | None = None,
        start: bool = True,
        backend: str | None = None,
        dataplane: Mapping[str, Any] | None = None,
    ) -> None:
        self.backend, self.mongodb = chosen_backend(backend), chosen_mongodb(mongodb)
        if parts is not None and (where is not None or haproxy is not None):
            raise HarnessError("`parts` has a place and a HAProxy: leave out `where` and `haproxy`")
        if dataplane is not None and self.backend != "dataplane":
            raise HarnessError("`dataplane` needs `backend='dataplane'`")
        settings = checked_settings(environ or {})
        self.parts = parts or make_parts(where=where, haproxy=haproxy)
        self.replica_sets: dict[str, ReplicaSet] = {}
        # Short: the paths of Unix sockets are made from it.
        self.directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
        try:
            self._make(settings, dataplane or {}, https=https)
        except BaseException:
            # Such as what isn't here: a test that is skipped leaves nothing behind.
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        self._start = start
        self._notes: dict[str, str] = {}
        self._open = contextlib.ExitStack()
        self._open.callback(self.parts.close)
        trust = ssl.create_default_context(cafile=self.ca.file)
        # A connection for each request: a kept one would be answered by the worker of its time.
        self.client = httpx.Client(
            trust_env=False,
            timeout=15,
            verify=trust,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def _make(
        self, settings: Mapping[str, str], dataplane: Mapping[str, Any], *, https: bool
    ) -> None:
        """Everything that has files in the directory; nothing runs yet."""
        self.ca = ThrowawayCa(self.directory / "ca")
        program = self.parts.haproxy()
        self.dataplane: DataPlane | None = None
        if self.backend == "dataplane":
            given = {"directory": self.directory / "dp", **dataplane}
            given.setdefault("pools", not given.get("single_file"))
            self.dataplane = DataPlane(
                **given,
                program=self.parts.dataplaneapi(),
                haproxy=program,
                machine=self.parts.proxy(self.directory),
            )
        self.front = FrontServer(
            self.directory,
            haproxy=program,
            machine=self.parts.front(self.directory, settings),
            dataplane=self.dataplane,
            https_certificate=self.ca.issue(f"*.{APP_DOMAIN}") if https else None,
            environ=settings,
        )

    # --- parts ---

    def agent(self, agent_id: str, key: str | None = None) -> StackAgent:
        """An agent of this id; it isn't registered yet."""
        agent = StackAgent(self, agent_id, key)
        self._open.callback(agent.api.close)
        return agent

    def registered(self, agent_id: str) -> StackAgent:
        """An agent that is registered already, by a plain request."""
        agent = self.agent(agent_id)
        agent.register_plainly()
        return agent

    def origin(self, name: str, *, tls: Path | None = None) -> Origin:
        """A running origin."""
        return self._open.enter_context(Origin(name, tls=tls))

    def mongod(self, name: str) -> Mongod:
        """A mongod with a configuration without TLS, not running yet."""
        return self._new_mongod(name)

    def secured_mongod(self, agent: StackAgent) -> Mongod:
        """A running mongod with the certificates of `agent`, without its dry run.

        With replica sets, the primary of a new one: `replica_sets` has it, by agent id.
        """
        agent.program.fetch_certificates()
        files = {
            "certificate": agent.program.certificates / "mongodb.pem",
            "ca": agent.ca_file,
        }
        if self.mongodb == "single":
            return self._new_mongod(agent.agent_id, **files).start()
        replica_set = ReplicaSet(
            self._new_mongod(f"{agent.agent_id}-{number}", replica_set="rs0", **files)
            for number in range(MEMBERS)
        )
        self.replica_sets[agent.agent_id] = replica_set
        return replica_set.start()

    def _new_mongod(self, name: str, **options: Any) -> Mongod:
        directory = self.directory / "mongod" / name
        machine, binary = self.parts.mongod(directory, self.directory)
        mongod = Mongod(
            directory, binary=binary, machine=machine, trial=self.parts.dry_run, **options
        )
        self._open.callback(mongod.stop)
        return mongod

    def postgresql(self, name: str = "main") -> Postgresql:
        """A running PostgreSQL server with an empty database. Raises `UnavailableError`."""
        directory = self.directory / "postgresql" / name
        machine, programs = self.parts.postgresql(directory, self.directory)
        postgresql = Postgresql(directory, programs=programs, machine=machine)
        self._open.callback(postgresql.stop)
        return postgresql.start()

    # --- traffic through HAProxy ---

    def url(self, subdomain: str, path: str = "/", *, scheme: str = "http") -> str:
        """The URL of a site below the application domain, by its real name."""
        port = self.front.https_port if scheme in {"https", "wss"} else self.front.http_port
        return f"{scheme}://{subdomain}.{APP_DOMAIN}:{port}{path}"

    def get(self, subdomain: str, path: str = "/", **kwargs: Any) -> httpx.Response:
        """GET of a site through HAProxy over plain HTTP."""
        return self.client.get(self.url(subdomain, path), **kwargs)

    # --- the life of it ---

    def note(self, name: str, text: str) -> None:
        """Have a text among the evidence, as this file; what was in it before is replaced."""
        self._notes[name] = text

    def evidence(self, target: Path) -> None:
        """Copy what is known about this stack to `target`. Raises `OSError`."""
        collect(self._told_by(), target)

    def keep_evidence(self) -> str:
        """The same to where evidence goes now; says where that is."""
        name = self.directory.name.removeprefix(_PREFIX)
        try:
            place = shelf().keep(self._told_by(), f"stack-{name}")
        except OSError as error:
            return f"no evidence can be kept: {error}"
        return f"logs and configuration: {place}"

    def _told_by(self) -> dict[str, Callable[[], Evidence]]:
        told = {"logs": self._logs, "haproxy": self.front.evidence, "notes": self._noted}
        if self.dataplane is not None and self.dataplane is not self.front.dataplane:
            told["dataplane"] = self.dataplane.evidence
        return told

    def _logs(self) -> Evidence:
        logs = dict(logs_below(self.directory))
        for dataplane in filter(None, (self.dataplane, self.front.dataplane)):
            # It may be elsewhere.
            found = logs_below(dataplane.directory)
            logs |= {f"{dataplane.directory.name}/{name}": log for name, log in found.items()}
        return logs

    def _noted(self) -> Evidence:
        return {name: partial(str, text) for name, text in self._notes.items()}

    def __enter__(self) -> Self:
        _live.append(self)
        try:
            self._open.enter_context(resolve_to_loopback([APP_DOMAIN, MONGO_DOMAIN]))
            if self.dataplane is not None:
                self._open.enter_context(self.dataplane)
            self._open.callback(self.front.clean_up)
            if self._start:
                self.front.start()
        except BaseException as error:
            self._end(error)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        try:
            if error is not None and not isinstance(error, shelf().unless):
                error.add_note(self.keep_evidence())
        finally:
            self._close()

    def _close(self) -> None:
        try:
            self.client.close()
            self._open.close()
        finally:
            _live.remove(self)
            shutil.rmtree(self.directory, ignore_errors=True)
