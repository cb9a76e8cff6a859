"""Caddy by its admin API: a POST to the configuration's path adds a route."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import Any

import msgspec

from bench.mix import Route
from bench.systems.base import Addition, Place, Waiting, Without, require_success, wait_served
from bench.systems.programs import find
from bench.wire import Connection, request
from harness.polling import until
from harness.ports import free_port
from harness.processes import Child

_ROUTES = "/config/apps/http/servers/bench/routes"


class Caddy(Without):
    """`caddy run`, its configuration in JSON. It persists each change, as it does by default."""

    name = "caddy"

    def __init__(self, place: Place) -> None:
        self.port, self._admin_port = free_port(), free_port()
        self._program = find("caddy")
        self._directory = place.directory
        self._admin = Connection(self._admin_port, timeout=120)
        self._child: Child | None = None

    @property
    def version(self) -> str:
        done = subprocess.run(
            [self._program, "version"], capture_output=True, text=True, check=True
        )
        return f"Caddy {done.stdout.split()[0].removeprefix('v')}"

    def load(self, routes: Sequence[Route]) -> None:
        self.stop()
        config = {
            "admin": {"listen": f"127.0.0.1:{self._admin_port}"},
            "logging": {"logs": {"default": {"level": "ERROR"}}},
            "apps": {
                "http": {
                    "servers": {
                        "bench": {
                            "listen": [f"127.0.0.1:{self.port}"],
                            "automatic_https": {"disable": True},
                            "routes": [_route(route) for route in routes],
                        }
                    }
                }
            },
        }
        file = self._directory / "caddy.json"
        file.write_bytes(msgspec.json.encode(config))
        home = {"XDG_CONFIG_HOME": str(self._directory), "XDG_DATA_HOME": str(self._directory)}
        self._child = Child(
            "caddy",
            [self._program, "run", "--config", file],
            log=self._directory / "caddy.log",
            environ={**os.environ, **home},
        )
        wait_served(self.port, routes, seconds=180)
        if not routes:
            _wait_for_admin(self._admin_port)

    def begin(self, route: Route) -> Addition:
        host = f"127.0.0.1:{self._admin_port}"
        self._admin.send(request("POST", _ROUTES, host, body=_route(route)))
        return Waiting(self._admin)

    def remove(self, routes: Sequence[Route]) -> None:
        for route in routes:
            data = request("DELETE", f"/id/{route.name}", f"127.0.0.1:{self._admin_port}")
            require_success(self._admin.ask(data))

    def processes(self) -> dict[str, tuple[int, ...]]:
        return {"Caddy": (self._child.pid,)} if self._child else {}

    def stop(self) -> None:
        if self._child is not None:
            self._child.kill()
        self._child = None
        self._admin.close()


def _wait_for_admin(port: int) -> None:
    def answers() -> bool:
        data = request("GET", _ROUTES, f"127.0.0.1:{port}")
        return Connection(port).ask(data).status == 200

    until("Caddy's admin API answers", answers, quiet=(OSError,))


def _route(route: Route) -> dict[str, Any]:
    return {
        "@id": route.name,
        "match": [{"host": [route.host]}],
        "handle": [
            {"handler": "reverse_proxy", "upstreams": [{"dial": f"127.0.0.1:{route.port}"}]}
        ],
    }
