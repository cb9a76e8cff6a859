"""This product on a Data Plane API, and that API as its users drive it: a transaction a route."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import httpx

from bench.haproxies import version_of
from bench.mix import Route
from bench.processes import children
from bench.reloads import ReloadWatch
from bench.systems.base import Addition, Done, Place, Without, wait_served
from bench.systems.ours import Ours
from harness.dataplane import DataPlane, find_dataplane
from harness.errors import HarnessError, UnavailableError
from harness.ports import free_port

_FRONTEND = """\
defaults plain
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend entrance from plain
    bind 127.0.0.1:{port}
    use_backend %[req.hdr(host),field(1,:),lower,map({map})]
    default_backend none
backend none from plain
    http-request return status 404
"""


def dataplane(place: Place, program: Path, *, pools: bool) -> DataPlane:
    """The real Data Plane API beside a HAProxy. Raises `UnavailableError`: no double is timed."""
    real = find_dataplane()
    if real is None:
        raise UnavailableError("DATAPLANEAPI_BIN names no Data Plane API")
    return DataPlane(place.directory / "dp", program=real, haproxy=program, pools=pools)


class OursByDataPlane(Ours):
    """The whole product, which drives HAProxy through its Data Plane API."""

    def __init__(self, place: Place, label: str, program: Path, *, preload: str = "auto") -> None:
        self._dataplane = dataplane(place, program, pools=True)
        super().__init__(place, label, program, preload=preload, dataplane=self._dataplane)
        self.name = f"ours-dataplane:{label}"

    def load(self, routes: Sequence[Route]) -> None:
        if not self._started:
            self._dataplane.haproxy.start()
            self._dataplane.start()
        super().load(routes)

    def reload_state(self) -> Hashable:
        return self._pid()

    def reloading(self) -> bool:
        return False

    def watch(self) -> AbstractContextManager[ReloadWatch | None]:
        return nullcontext()

    @property
    def served(self) -> list[Route]:
        """The routes that were loaded."""
        return self._loaded

    def wrote(self, routes: Sequence[Route]) -> bool:
        """Whether the files on disk have these routes."""
        text = (self._dataplane.files.maps / "fs-hosts.map").read_text()
        lines = dict(line.split(" ", 1) for line in text.splitlines() if line)
        written = [lines.get(route.host) for route in routes]
        config = "".join(path.read_text() for path in self._dataplane.files.configs)
        sections = set(re.findall(r"^backend (\S+).*\n +server ", config, re.MULTILINE))
        return all(backend in sections for backend in written)

    def crash(self) -> None:
        """Kill the product, the Data Plane API and HAProxy, and start HAProxy alone."""
        self.front.kill()
        self._dataplane.kill()
        self._dataplane.haproxy.kill()
        self._dataplane.haproxy.start()

    def _pid(self) -> int | None:
        with contextlib.suppress(OSError, HarnessError):
            return self.front.sockets.worker_pid()
        return None

    def processes(self) -> dict[str, tuple[int, ...]]:
        return {**super().processes(), "Data Plane": (self._dataplane.pid,)}

    def stop(self) -> None:
        super().stop()
        self._dataplane.clean_up()


class Transactions(Without):
    """A transaction for each route: its backend, the commit with a forced reload, its map entry."""

    def __init__(self, place: Place, label: str, program: Path) -> None:
        self.name = f"transaction:{label}"
        self.port = free_port()
        self._program = program
        self._dataplane = dataplane(place, program, pools=False)
        self._map = self._dataplane.files.maps / "hosts.map"
        self._client: httpx.Client | None = None

    @property
    def version(self) -> str:
        return f"HAProxy {version_of(self._program)}"

    def load(self, routes: Sequence[Route]) -> None:
        if self._client is None:
            self._dataplane.haproxy.start()
            self._dataplane.start()
            self._client = self._dataplane.client(timeout=120)
            files = {"file_upload": ("hosts.map", b"\n")}
            self._say("POST", "/services/haproxy/storage/maps", files=files)
        lines = "".join(f"{route.host} {_backend(route)}\n" for route in routes) or "\n"
        self._say(
            "PUT",
            "/services/haproxy/storage/maps/hosts.map?skip_reload=true",
            content=lines.encode(),
            headers={"Content-Type": "text/plain"},
        )
        backends = (
            f"backend {_backend(route)} from plain\n    server s 127.0.0.1:{route.port}\n"
            for route in routes
        )
        text = _FRONTEND.format(port=self.port, map=self._map) + "".join(backends)
        self._say(
            "POST",
            f"/services/haproxy/configuration/raw?version={self._version()}&force_reload=true",
            content=text.encode(),
            headers={"Content-Type": "text/plain"},
        )
        wait_served(self.port, routes, seconds=60)

    def begin(self, route: Route) -> Addition:
        begun = self._say("POST", f"/services/haproxy/transactions?version={self._version()}")
        name = begun.json()["id"]
        server = {"name": "s", "address": "127.0.0.1", "port": route.port}
        backend = {
            "name": _backend(route),
            "from": "plain",
            "mode": "http",
            "servers": {"s": server},
        }
        self._say(
            "POST",
            f"/services/haproxy/configuration/backends?transaction_id={name}&full_section=true",
            json=backend,
        )
        self._say("PUT", f"/services/haproxy/transactions/{name}?force_reload=true")
        self._say(
            "POST",
            "/services/haproxy/runtime/maps/hosts.map/entries?force_sync=true",
            json={"key": route.host, "value": _backend(route)},
        )
        return Done()

    def remove(self, routes: Sequence[Route]) -> None:
        for route in routes:
            path = f"/services/haproxy/runtime/maps/hosts.map/entries/{route.host}?force_sync=true"
            self._say("DELETE", path)

    def processes(self) -> dict[str, tuple[int, ...]]:
        if self._client is None:
            return {}
        master = self._dataplane.sockets.master_pid()
        return {"HAProxy": (master, *children(master)), "Data Plane": (self._dataplane.pid,)}

    def stop(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None
        self._dataplane.clean_up()

    def _version(self) -> int:
        return int(self._say("GET", "/services/haproxy/configuration/version").json())

    def _say(self, method: str, path: str, **content: Any) -> httpx.Response:
        if self._client is None:
            raise HarnessError("nothing was loaded yet")
        answer = self._client.request(method, path, **content)
        if not answer.is_success:
            raise HarnessError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer


def _backend(route: Route) -> str:
    return f"r_{route.name}"
