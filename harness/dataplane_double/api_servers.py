"""Servers of backends, and binds of frontends, in the configuration."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Response, delete, get, post, put

from harness.dataplane_double import sections, servers
from harness.dataplane_double.api_sections import allow, changed
from harness.dataplane_double.document import Document
from harness.dataplane_double.errors import ApiError, absent, present
from harness.dataplane_double.parts import Parts
from harness.dataplane_double.requests import Call, answer, json_body

Json = dict[str, Any]


class ServerController(Controller):
    path = "/services/haproxy/configuration/backends/{backend:str}/servers"

    @get("/", sync_to_thread=True)
    def all(self, parts: Parts, backend: str, transaction_id: str | None = None) -> Response[Any]:
        # Of a backend that isn't there too.
        return answer(
            list(_servers(parts.configuration.document(transaction_id), backend).values())
        )

    @get("/{name:str}", sync_to_thread=True)
    def one(
        self, parts: Parts, backend: str, name: str, transaction_id: str | None = None
    ) -> Response[Any]:
        return answer(_server(parts.configuration.document(transaction_id), backend, name))

    @post("/", sync_to_thread=True)
    def create(
        self,
        parts: Parts,
        request: Call,
        backend: str,
        body: bytes,
        transaction_id: str | None = None,
        version: int | None = None,
        *,
        force_reload: bool = False,
    ) -> Response[Any]:
        wanted = json_body(request, body, "server")
        allow(transaction_id, force=force_reload)

        def work(known: Document) -> bool:
            if ("backend", backend) not in known.sections:
                raise ApiError(400, f"missing parent: backend {backend} does not exist")
            if wanted["name"] in _servers(known, backend):
                raise present(f"server {wanted['name']} already exists in {backend} backend")
            known.sections["backend", backend].lines.append(servers.line(wanted))
            return _addable(known, backend)

        addable = parts.configuration.change(transaction_id, version, work)
        if transaction_id is None and addable and not force_reload and _add(parts, backend, wanted):
            return answer(wanted, 201)
        return changed(parts, wanted, 201, transaction_id, force=force_reload)

    @put("/{name:str}", sync_to_thread=True)
    def replace(
        self,
        parts: Parts,
        request: Call,
        backend: str,
        name: str,
        body: bytes,
        transaction_id: str | None = None,
        version: int | None = None,
        *,
        force_reload: bool = False,
    ) -> Response[Any]:
        wanted = json_body(request, body, "server")
        allow(transaction_id, force=force_reload)
        old = _server(parts.configuration.document(transaction_id), backend, name)

        def work(known: Document) -> None:
            _server(known, backend, name)
            _replace_line(known, backend, name, servers.line(wanted))

        parts.configuration.change(transaction_id, version, work)
        differences = servers.differences(wanted, old)
        if transaction_id is None and parts.servers.change(backend, wanted, differences):
            return answer(wanted)
        return changed(parts, wanted, 200, transaction_id, force=force_reload)

    @delete("/{name:str}", status_code=200, sync_to_thread=True)
    def drop(
        self,
        parts: Parts,
        backend: str,
        name: str,
        transaction_id: str | None = None,
        version: int | None = None,
        *,
        force_reload: bool = False,
    ) -> Response[Any]:
        allow(transaction_id, force=force_reload)

        def work(known: Document) -> None:
            _server(known, backend, name)
            _replace_line(known, backend, name, None)

        parts.configuration.change(transaction_id, version, work)
        return changed(parts, None, 204, transaction_id, force=force_reload)


class BindController(Controller):
    path = "/services/haproxy/configuration/frontends/{frontend:str}/binds"

    @get("/", sync_to_thread=True)
    def all(self, parts: Parts, frontend: str, transaction_id: str | None = None) -> Response[Any]:
        known = parts.configuration.document(transaction_id)
        found = known.sections.get(("frontend", frontend))
        return answer(sections.binds(found) if found else [])


def _add(parts: Parts, backend: str, server: Json) -> bool:
    """Add a server at run time; whether HAProxy took it."""
    try:
        parts.servers.add(backend, server)
    except ApiError:
        return False
    return True


def _addable(known: Document, backend: str) -> bool:
    """Whether HAProxy may be asked to add a server: not where there is a `default-server`."""
    defaults = known.names("defaults")
    looked_at = [known.sections["backend", backend]]
    if defaults:
        looked_at.append(known.sections["defaults", defaults[-1]])
    return not any(section.words("default-server") for section in looked_at)


def _servers(known: Document, backend: str) -> dict[str, Json]:
    found = known.sections.get(("backend", backend))
    words = found.words("server") if found else []
    return {server["name"]: server for server in map(servers.read, words)}


def _server(known: Document, backend: str, name: str) -> Json:
    found = _servers(known, backend).get(name)
    if found is None:
        raise absent(f"server {name} does not exist in {backend} backend")
    return found


def _replace_line(known: Document, backend: str, name: str, line: str | None) -> None:
    section = known.sections["backend", backend]
    at = next(i for i, known in enumerate(section.lines) if known.split()[:2] == ["server", name])
    section.lines[at : at + 1] = [line] if line is not None else []
