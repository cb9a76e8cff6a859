"""What there is to know of the Data Plane itself, of its reloads, and of HAProxy's figures."""

from __future__ import annotations

import shlex
import subprocess
from typing import Any

from litestar import Controller, Response, get

from harness.dataplane_double import schemas, status
from harness.dataplane_double.errors import ApiError
from harness.dataplane_double.parts import Parts
from harness.dataplane_double.requests import answer

VERSION = "v3.2.13-double"


class StatusController(Controller):
    path = "/"

    @get("/info", sync_to_thread=True)
    def info(self) -> Response[Any]:
        build = {"version": VERSION, "build_date": "0001-01-01T00:00:00.000Z"}
        return answer({"api": build, "system": {}})

    @get("/health", sync_to_thread=True)
    def health(self, parts: Parts) -> Response[Any]:
        """Not HAProxy's health, but what `status_cmd` says of it."""
        command = parts.settings.status_command
        if not command:
            return answer({"haproxy": "unknown"})
        done = subprocess.run(shlex.split(command), capture_output=True, check=False)
        return answer({"haproxy": "up" if done.returncode == 0 else "down"})

    @get("/specification_openapiv3", sync_to_thread=True)
    def openapi(self) -> Response[Any]:
        return answer(schemas.openapi())

    @get("/specification", sync_to_thread=True)
    def swagger(self) -> Response[Any]:
        document = schemas.openapi()
        head = {"swagger": "2.0", "info": document["info"], "basePath": "/v3"}
        return answer({**head, "paths": document["paths"]})


class ReloadController(Controller):
    path = "/services/haproxy"

    @get("/reloads", sync_to_thread=True)
    def all(self, parts: Parts) -> Response[Any]:
        return answer(parts.reloads.all())

    @get("/reloads/{name:str}", sync_to_thread=True)
    def one(self, parts: Parts, name: str) -> Response[Any]:
        return answer(parts.reloads.one(name))

    @get("/stats/native", sync_to_thread=True)
    def statistics(
        self,
        parts: Parts,
        type: str | None = None,  # noqa: A002 - the API's name
        name: str | None = None,
        parent: str | None = None,
    ) -> Response[Any]:
        if name and not type:
            raise ApiError(400, "Type required when filtering by name")
        if name and type == "server" and not parent:
            raise ApiError(400, "Parent backend required when filtering by server")
        columns = set(schemas.schema("native_stat_stats")["properties"])
        found = status.statistics(parts.runtime, columns, type, name, parent)
        return answer(found, 500 if "error" in found else 200)
