"""Traefik by its file provider: one watched TOML file, to which a new route is appended.

Of the ways that it offers this is the fastest: a directory with a file a route, and a YAML file
that is written anew, took longer. The provider's throttle, two seconds by default, is off.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence

from bench.mix import Route
from bench.systems.base import Addition, Done, Place, Without, unserved, wait_served
from bench.systems.programs import find
from harness.polling import until
from harness.ports import free_port
from harness.processes import Child


class Traefik(Without):
    """`traefik` with a file provider and nothing else."""

    name = "traefik"

    def __init__(self, place: Place) -> None:
        self.port = free_port()
        self._program = find("traefik")
        self._directory = place.directory
        self._file = place.directory / "routes.toml"
        self._texts: dict[str, str] = {}
        self._child: Child | None = None

    @property
    def version(self) -> str:
        done = subprocess.run(
            [self._program, "version"], capture_output=True, text=True, check=True
        )
        match = re.search(r"^Version: +(\S+)", done.stdout, re.MULTILINE)
        return f"Traefik {match[1] if match else done.stdout.strip()}"

    def load(self, routes: Sequence[Route]) -> None:
        self.stop()
        self._texts = {route.name: _text(route) for route in routes}
        self._file.write_text("".join(self._texts.values()))
        self._child = Child(
            "traefik",
            [
                self._program,
                f"--entrypoints.web.address=127.0.0.1:{self.port}",
                f"--providers.file.filename={self._file}",
                "--providers.file.watch=true",
                "--providers.providersThrottleDuration=1ms",
                "--log.level=ERROR",
                "--global.checknewversion=false",
                "--global.sendanonymoususage=false",
            ],
            log=self._directory / "traefik.log",
        )
        wait_served(self.port, routes, seconds=600)

    def begin(self, route: Route) -> Addition:
        self._texts[route.name] = text = _text(route)
        with self._file.open("a") as file:
            file.write(text)
        return Done()

    def remove(self, routes: Sequence[Route]) -> None:
        for route in routes:
            del self._texts[route.name]
        # Seen as two changes, of which the first may be an empty file: nothing is timed now.
        self._file.write_text("".join(self._texts.values()))
        if routes:
            until("Traefik dropped the routes", lambda: self._is_gone(routes[-1]), seconds=600)

    def _is_gone(self, route: Route) -> bool:
        return bool(unserved(self.port, [route]))

    def processes(self) -> dict[str, tuple[int, ...]]:
        return {"Traefik": (self._child.pid,)} if self._child else {}

    def stop(self) -> None:
        # It takes its time to end, and nothing of it is needed any more.
        if self._child is not None:
            self._child.kill()
        self._child = None


def _text(route: Route) -> str:
    name = route.name
    return (
        f'[http.routers.{name}]\nrule = "Host(`{route.host}`)"\nservice = "{name}"\n'
        f"[[http.services.{name}.loadBalancer.servers]]\n"
        f'url = "http://127.0.0.1:{route.port}"\n'
    )
