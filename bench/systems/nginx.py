"""nginx: a file with a `server` a route, included; SIGHUP to the master after each change."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.mix import Route
from bench.processes import children
from bench.systems.base import Addition, Done, Place, Without, wait_served
from bench.systems.programs import find
from harness.ports import free_port
from harness.processes import Child

_CONFIG = """\
daemon off;
worker_processes auto;
worker_rlimit_nofile 8192;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server_names_hash_max_size 262144;
    server_names_hash_bucket_size 128;
    keepalive_requests 1000000;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $host;
{upstreams}
    server {{ listen 127.0.0.1:{port} default_server; return 404; }}
    include {directory}/routes/*.conf;
}}
"""
# One for each port of the origin, shared by all routes, so that connections to it are kept.
_UPSTREAM = """\
    upstream o{port} {{ server 127.0.0.1:{port}; keepalive 64; keepalive_requests 1000000; }}
"""


class Nginx(Without):
    """One file a route; the signal goes straight to the master, not by `nginx -s reload`."""

    name = "nginx"

    def __init__(self, place: Place) -> None:
        self.port = free_port()
        self._program = find("nginx")
        self._directory = place.directory
        self._origins = place.origins
        self._child: Child | None = None

    @property
    def version(self) -> str:
        done = subprocess.run([self._program, "-v"], capture_output=True, text=True, check=True)
        return done.stderr.strip().rpartition(": ")[2].replace("/", " ")

    def load(self, routes: Sequence[Route]) -> None:
        self.stop()
        config = self._directory / "nginx.conf"
        config.write_text(
            _CONFIG.format(
                directory=self._directory,
                port=self.port,
                upstreams="".join(_UPSTREAM.format(port=port) for port in self._origins),
            )
        )
        (self._directory / "routes").mkdir(exist_ok=True)
        for file in (self._directory / "routes").iterdir():
            file.unlink()
        for route in routes:
            self._file(route).write_text(self._text(route))
        self._child = Child(
            "nginx",
            [self._program, "-p", self._directory, "-c", config],
            log=self._directory / "output.log",
        )
        wait_served(self.port, routes, seconds=180)

    def begin(self, route: Route) -> Addition:
        self._file(route).write_text(self._text(route))
        self._reload()
        return Done()

    def remove(self, routes: Sequence[Route]) -> None:
        for route in routes:
            self._file(route).unlink()
        if routes:
            self._reload()

    def processes(self) -> dict[str, tuple[int, ...]]:
        if self._child is None:
            return {}
        return {"nginx": (self._child.pid, *children(self._child.pid))}

    def stop(self) -> None:
        if self._child is not None:
            self._child.terminate()
        self._child = None

    def _reload(self) -> None:
        if self._child is not None:
            os.kill(self._child.pid, signal.SIGHUP)

    def _file(self, route: Route) -> Path:
        return self._directory / "routes" / f"{route.name}.conf"

    def _text(self, route: Route) -> str:
        return (
            f"server {{ listen 127.0.0.1:{self.port}; server_name {route.host}; "
            f"location / {{ proxy_pass http://o{route.port}; }} }}\n"
        )
