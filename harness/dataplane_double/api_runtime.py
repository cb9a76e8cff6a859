"""`/services/haproxy/runtime`: what the worker has, without the configuration."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from litestar import Controller, Response, delete, get, post, put

from harness.dataplane_double import status
from harness.dataplane_double.errors import ApiError
from harness.dataplane_double.parts import Parts
from harness.dataplane_double.requests import (
    Call,
    Upload,
    answer,
    json_body,
    key,
    nothing,
    uploaded,
)

_ROOT = "/services/haproxy/runtime"


class InfoController(Controller):
    path = _ROOT

    @get("/info", sync_to_thread=True)
    def info(self, parts: Parts) -> Response[Any]:
        return answer(status.process_info(parts.runtime))


class RuntimeServerController(Controller):
    path = f"{_ROOT}/backends/{{backend:str}}/servers"

    @get("/", sync_to_thread=True)
    def all(self, parts: Parts, backend: str) -> Response[Any]:
        return answer(parts.servers.all(backend))

    @get("/{name:str}", sync_to_thread=True)
    def one(self, parts: Parts, backend: str, name: str) -> Response[Any]:
        return answer(parts.servers.one(backend, name))

    @post("/", sync_to_thread=True)
    def create(self, parts: Parts, request: Call, backend: str, body: bytes) -> Response[Any]:
        wanted = json_body(request, body, "runtime_add_server")
        if not wanted.get("name"):
            raise ApiError(400, "the new server must have a name")
        parts.servers.add(backend, wanted)
        return answer(wanted, 201)

    @put("/{name:str}", sync_to_thread=True)
    def replace(
        self, parts: Parts, request: Call, backend: str, name: str, body: bytes
    ) -> Response[Any]:
        wanted = json_body(request, body, "runtime_server")
        return answer(parts.servers.set_state(backend, name, wanted))

    @delete("/{name:str}", status_code=200, sync_to_thread=True)
    def drop(self, parts: Parts, backend: str, name: str) -> Response[Any]:
        parts.servers.delete(backend, name)
        return nothing()


class RuntimeMapController(Controller):
    path = f"{_ROOT}/maps"

    @get("/", sync_to_thread=True)
    def all(self, parts: Parts, *, include_unmanaged: bool = False) -> Response[Any]:
        return answer(parts.maps.all(unmanaged=include_unmanaged))

    @get("/{name:str}", sync_to_thread=True)
    def one(self, parts: Parts, name: str) -> Response[Any]:
        return answer(parts.maps.one(unquote(name)))

    @put("/{name:str}", sync_to_thread=True)
    def add_many(
        self, parts: Parts, request: Call, name: str, body: bytes, *, force_sync: bool = False
    ) -> Response[Any]:
        entries = json_body(request, body, "map_entries")
        parts.maps.put(name, entries)
        _sync(parts, name, wanted=force_sync)
        return answer(entries, 201)

    @delete("/{name:str}", status_code=200, sync_to_thread=True)
    def clear(self, parts: Parts, name: str, *, force_sync: bool = False) -> Response[Any]:
        parts.maps.clear(name)
        _sync(parts, name, wanted=force_sync)
        return nothing()

    @get("/{name:str}/entries", sync_to_thread=True)
    def entries(self, parts: Parts, name: str) -> Response[Any]:
        return answer(parts.maps.entries(name))

    @get("/{name:str}/entries/{word:str}", sync_to_thread=True)
    def entry(self, parts: Parts, name: str, word: str) -> Response[Any]:
        return answer(parts.maps.entry(name, key(word)))

    @post("/{name:str}/entries", sync_to_thread=True)
    def add(
        self, parts: Parts, request: Call, name: str, body: bytes, *, force_sync: bool = False
    ) -> Response[Any]:
        entry = json_body(request, body, "map_entry")
        parts.maps.add(name, entry.get("key", ""), entry.get("value", ""))
        _sync(parts, name, wanted=force_sync)
        return answer(entry, 201)

    @put("/{name:str}/entries/{word:str}", sync_to_thread=True)
    def replace(
        self,
        parts: Parts,
        request: Call,
        name: str,
        word: str,
        body: bytes,
        *,
        force_sync: bool = False,
    ) -> Response[Any]:
        wanted = json_body(request, body, "map_entry")
        if "value" not in wanted:
            raise ApiError(422, "value in body is required", code=602)
        entry = parts.maps.set(name, key(word), wanted["value"])
        _sync(parts, name, wanted=force_sync)
        return answer(entry)

    @delete("/{name:str}/entries/{word:str}", status_code=200, sync_to_thread=True)
    def drop(
        self, parts: Parts, name: str, word: str, *, force_sync: bool = False
    ) -> Response[Any]:
        parts.maps.delete(name, key(word))
        _sync(parts, name, wanted=force_sync)
        return nothing()


def _sync(parts: Parts, name: str, *, wanted: bool) -> None:
    if wanted:
        parts.maps.sync(name)


class RuntimeCertificateController(Controller):
    path = f"{_ROOT}/ssl_certs"

    @get("/", sync_to_thread=True)
    def all(self, parts: Parts) -> Response[Any]:
        return answer(parts.certificates.all())

    @get("/{name:str}", sync_to_thread=True)
    def one(self, parts: Parts, name: str) -> Response[Any]:
        return answer(parts.certificates.one(unquote(name)))

    @post("/", sync_to_thread=True)
    def create(self, parts: Parts, data: Upload) -> Response[Any]:
        name, pem = uploaded(data)
        # Without directories, so nothing that a configuration names can be made here.
        parts.certificates.create(name.rpartition("/")[2], pem.decode())
        return nothing(201)

    @put("/{name:str}", sync_to_thread=True)
    def replace(self, parts: Parts, name: str, data: Upload) -> Response[Any]:
        parts.certificates.replace(unquote(name), uploaded(data)[1].decode())
        return nothing(200)

    @delete("/{name:str}", status_code=200, sync_to_thread=True)
    def drop(self, parts: Parts, name: str) -> Response[Any]:
        parts.certificates.delete(unquote(name))
        return nothing()


class RuntimeCaFileController(Controller):
    path = f"{_ROOT}/ssl_ca_files"

    @get("/", sync_to_thread=True)
    def all(self, parts: Parts) -> Response[Any]:
        return answer(parts.certificates.ca_files())

    @get("/{name:str}", sync_to_thread=True)
    def one(self, parts: Parts, name: str) -> Response[Any]:
        return answer(parts.certificates.ca_file(unquote(name)))

    @post("/", sync_to_thread=True)
    def create(self, parts: Parts, data: Upload) -> Response[Any]:
        name, pem = uploaded(data)
        parts.certificates.create_ca_file(name.rpartition("/")[2], pem.decode())
        return nothing(201)

    @put("/{name:str}", sync_to_thread=True)
    def replace(self, parts: Parts, name: str, data: Upload) -> Response[Any]:
        parts.certificates.replace_ca_file(unquote(name), uploaded(data)[1].decode())
        return nothing(201)

    @post("/{name:str}/entries", sync_to_thread=True)
    def add(self, parts: Parts, name: str, data: Upload) -> Response[Any]:
        parts.certificates.add_to_ca_file(unquote(name), uploaded(data)[1].decode())
        return nothing(201)

    @delete("/{name:str}", status_code=200, sync_to_thread=True)
    def drop(self, parts: Parts, name: str) -> Response[Any]:
        parts.certificates.delete_ca_file(unquote(name))
        return nothing()


class RuntimeCrtListController(Controller):
    path = f"{_ROOT}/ssl_crt_lists"

    @get("/", sync_to_thread=True)
    def all(self, parts: Parts) -> Response[Any]:
        return answer(parts.certificates.lists())

    @get("/entries", sync_to_thread=True)
    def entries(self, parts: Parts, name: str) -> Response[Any]:
        return answer(parts.certificates.entries(name))

    @post("/entries", sync_to_thread=True)
    def add(self, parts: Parts, request: Call, name: str, body: bytes) -> Response[Any]:
        parts.certificates.add_entry(name, json_body(request, body, "ssl_crt_list_entry"))
        return nothing(201)

    @delete("/entries", status_code=200, sync_to_thread=True)
    def drop(
        self, parts: Parts, name: str, cert_file: str, line_number: int | None = None
    ) -> Response[Any]:
        parts.certificates.delete_entry(name, cert_file, line_number)
        return nothing()
