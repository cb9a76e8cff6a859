"""This product: `frontserver serve`, SQLite, and agents with tokens."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from bench.haproxies import version_of
from bench.mix import Route
from bench.preload import Preloader
from bench.reloads import ReloadWatch
from bench.systems.base import Addition, Place, Waiting, require_success
from bench.wire import Connection, request
from harness.dataplane import DataPlane
from harness.errors import HarnessError
from harness.frontserver import ADMIN_TOKEN, FrontServer

# Of HAProxy's description: `frontserver-000041-DIGEST` runs generation 000041.
_RUNS = re.compile(r"^description: frontserver-(\d+)", re.MULTILINE)
_PID = re.compile(r"^Pid: (\d+)", re.MULTILINE)


class Ours:
    """The whole product, driven by its API. `front` may be another kind of `FrontServer`."""

    def __init__(
        self,
        place: Place,
        label: str,
        program: Path,
        *,
        preload: str = "auto",
        front: type[FrontServer] = FrontServer,
        environ: Mapping[str, str] | None = None,
        https_certificate: Path | None = None,
        dataplane: DataPlane | None = None,
    ) -> None:
        self.name = f"ours:{label}"
        self.tokens: dict[str, str] = {}
        self._program = program
        self._preloader = Preloader(self, preload)
        # RSA keys, the default, would make registering many agents slow.
        environ = {"FRONTSERVER_KEY_TYPE": "ec", **(environ or {})}
        self.front = front(
            place.directory,
            haproxy=program,
            environ=environ,
            https_certificate=https_certificate,
            dataplane=dataplane,
        )
        self.port = self.front.http_port
        self._api = Connection(self.front.api_port)
        self._loaded: list[Route] = []
        self._started = False

    @property
    def version(self) -> str:
        return f"HAProxy {version_of(self._program)}"

    def load(self, routes: Sequence[Route]) -> None:
        if not self._started:
            self.front.start()
            self._started = True
        self._preloader.load(routes[len(self._loaded) :])
        self._loaded = list(routes)

    def prepare(self, routes: Sequence[Route]) -> None:
        """Register the agents that aren't yet."""
        for agent in {route.agent: None for route in routes}:
            if agent not in self.tokens:
                self.tokens[agent] = self._register(agent)

    def _register(self, agent: str) -> str:
        body = {"agentId": agent, "agentKey": secrets.token_hex(16), "targetIp": "127.0.0.1"}
        reply = self._api.ask(request("POST", "/api/agents/register", "api", body=body))
        require_success(reply)
        return str(reply.json()["token"])

    def begin(self, route: Route) -> Addition:
        self._api.send(self.publishing(route))
        return Waiting(self._api)

    def publishing(self, route: Route, *, wait: int | None = None) -> bytes:
        """The request that publishes a route."""
        headers = self._headers(route, wait)
        return request("POST", "/api/proxy/http", "api", body=_body(route), headers=headers)

    def publishing_all(self, routes: Sequence[Route], *, wait: int) -> bytes:
        """An operator's request that publishes many routes, of agents that are known."""
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Prefer": f"wait={wait}"}
        body = {"routes": [_body(route) for route in routes]}
        return request("POST", "/api/proxy/routes", "api", body=body, headers=headers)

    def removing(self, route: Route) -> bytes:
        """The request that removes a route."""
        body = {"agentId": route.agent, "subdomain": route.name, "type": "http"}
        return request("DELETE", "/api/proxy", "api", body=body, headers=self._headers(route, 10))

    def _headers(self, route: Route, wait: int | None) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self.tokens[route.agent]}"}
        return headers if wait is None else {**headers, "Prefer": f"wait={wait}"}

    def remove(self, routes: Sequence[Route]) -> None:
        for route in routes:
            reply = self._api.ask(self.removing(route))
            # One that was refused isn't there.
            if reply.status != 404:
                require_success(reply)

    # --- reloads, as they show from outside ---

    def reload_state(self) -> Hashable:
        """The worker's process id and its generation, and the newest generation on disk."""
        info = self._info()
        pid, runs = _PID.search(info), _RUNS.search(info)
        return (pid and pid[1], runs and runs[1], self._newest())

    def reloading(self) -> bool:
        """Whether there is a newer generation on disk than the one that HAProxy runs."""
        runs = self._runs()
        return runs is None or self._newest() > runs

    def watch(self) -> AbstractContextManager[ReloadWatch | None]:
        return ReloadWatch(self._newest, self._runs)

    def _runs(self) -> str | None:
        runs = _RUNS.search(self._info())
        return runs and runs[1]

    def _info(self) -> str:
        """What the worker says of itself; nothing while it hands over to the next one."""
        try:
            return self.front.sockets.run("show info")
        except OSError:
            return ""

    def _newest(self) -> str:
        directory = self.front.config_dir / "generations"
        # A draft has its number too. `listdir`, since this is asked all the time.
        return max((name[:6] for name in os.listdir(directory)), default="")  # noqa: PTH208

    # --- processes ---

    def processes(self) -> dict[str, tuple[int, ...]]:
        sockets = self.front.sockets
        return {
            "control plane": (self.front.pid,),
            "HAProxy": (sockets.master_pid(), *sockets.worker_pids()),
        }

    def resume(self) -> None:
        """Start the control plane again."""
        self.front.start(ready=False)

    def halt(self) -> None:
        """End the control plane; HAProxy goes on."""
        self._api.close()
        self.front.terminate()

    def stop(self) -> None:
        if self._started:
            self._api.close()
            with contextlib.suppress(HarnessError):
                self.front.stop()
            self.front.clean_up()
        self._started = False


def _body(route: Route) -> dict[str, Any]:
    body: dict[str, Any] = {
        "agentId": route.agent,
        "subdomain": route.name,
        "targetUrl": f"http://127.0.0.1:{route.port}",
    }
    return {**body, "options": route.options} if route.options else body
