"""`/services/haproxy/storage`: files for HAProxy, some of which it is told of at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from litestar import Controller, Response, delete, get, post, put

from harness.dataplane_double.errors import ApiError
from harness.dataplane_double.parts import Parts
from harness.dataplane_double.requests import (
    Call,
    Upload,
    answer,
    nothing,
    text_body,
    uploaded,
)

_ROOT = "/services/haproxy/storage"


class MapFileController(Controller):
    path = f"{_ROOT}/maps"

    @get("/", sync_to_thread=True)
    def all(self, parts: Parts) -> Response[Any]:
        return answer(parts.map_files.all())

    @get("/{name:str}", sync_to_thread=True)
    def one(self, parts: Parts, name: str) -> Response[Any]:
        return _content(parts.map_files.path(name))

    @post("/", sync_to_thread=True)
    def create(self, parts: Parts, data: Upload) -> Response[Any]:
        path = parts.map_files.create(*uploaded(data))
        told = parts.map_files.told(path, size=path.stat().st_size)
        words = "managed but not loaded map file (no runtime ID)"
        return answer(told | {"description": words}, 201)

    @put("/{name:str}", sync_to_thread=True)
    def replace(
        self,
        parts: Parts,
        request: Call,
        name: str,
        body: bytes,
        *,
        skip_reload: bool = False,
        force_reload: bool = False,
    ) -> Response[Any]:
        parts.map_files.replace(name, text_body(request, body).encode())
        reload = parts.reload(skip=skip_reload, force=force_reload)
        return nothing(202 if reload else 204, reload=reload)

    @delete("/{name:str}", status_code=200, sync_to_thread=True)
    def drop(self, parts: Parts, name: str) -> Response[Any]:
        parts.map_files.delete(name, parts.configuration.memory)
        return nothing()


class GeneralFileController(Controller):
    path = f"{_ROOT}/general"

    @get("/", sync_to_thread=True)
    def all(self, parts: Parts) -> Response[Any]:
        return answer(parts.general_files.all())

    @get("/{name:str}", sync_to_thread=True)
    def one(self, parts: Parts, name: str) -> Response[Any]:
        return _content(parts.general_files.path(name))

    @post("/", sync_to_thread=True)
    def create(self, parts: Parts, data: Upload) -> Response[Any]:
        path = parts.general_files.create(*uploaded(data))
        return answer(parts.general_files.told(path, size=path.stat().st_size), 201)

    @put("/{name:str}", sync_to_thread=True)
    def replace(
        self,
        parts: Parts,
        name: str,
        data: Upload,
        *,
        skip_reload: bool = False,
        force_reload: bool = False,
    ) -> Response[Any]:
        parts.general_files.replace(name, uploaded(data)[1])
        reload = parts.reload(skip=skip_reload, force=force_reload)
        return nothing(202 if reload else 204, reload=reload)

    @delete("/{name:str}", status_code=200, sync_to_thread=True)
    def drop(self, parts: Parts, name: str) -> Response[Any]:
        parts.general_files.delete(name, parts.configuration.memory)
        return nothing()


class CertificateFileController(Controller):
    path = f"{_ROOT}/ssl_certificates"

    @get("/", sync_to_thread=True)
    def all(self, parts: Parts) -> Response[Any]:
        return answer(parts.certificate_files.all())

    @get("/{name:str}", sync_to_thread=True)
    def one(self, parts: Parts, name: str) -> Response[Any]:
        files = parts.certificate_files
        return answer(files.described(files.path(name)))

    @post("/", sync_to_thread=True)
    def create(
        self,
        parts: Parts,
        data: Upload,
        *,
        skip_reload: bool = False,
        force_reload: bool = False,
    ) -> Response[Any]:
        path = parts.certificate_files.create(*uploaded(data))
        return _served(parts, path, 201, new=True, skip=skip_reload, force=force_reload)

    @put("/{name:str}", sync_to_thread=True)
    def replace(
        self,
        parts: Parts,
        request: Call,
        name: str,
        body: bytes,
        *,
        skip_reload: bool = False,
        force_reload: bool = False,
    ) -> Response[Any]:
        path = parts.certificate_files.replace(name, text_body(request, body).encode())
        return _served(parts, path, 200, new=False, skip=skip_reload, force=force_reload)

    @delete("/{name:str}", status_code=200, sync_to_thread=True)
    def drop(
        self, parts: Parts, name: str, *, skip_reload: bool = False, force_reload: bool = False
    ) -> Response[Any]:
        parts.certificate_files.delete(name, parts.configuration.memory)
        reload = parts.reload(skip=skip_reload, force=force_reload)
        return nothing(202 if reload else 204, reload=reload)


class CrtListFileController(Controller):
    path = f"{_ROOT}/ssl_crt_lists"

    @get("/", sync_to_thread=True)
    def all(self, parts: Parts) -> Response[Any]:
        return answer(parts.crt_list_files.all())

    @get("/{name:str}", sync_to_thread=True)
    def one(self, parts: Parts, name: str) -> Response[Any]:
        return _content(parts.crt_list_files.path(name))

    @post("/", sync_to_thread=True)
    def create(self, parts: Parts, data: Upload, *, force_reload: bool = False) -> Response[Any]:
        path = parts.crt_list_files.create(*uploaded(data))
        reload = parts.reload(force=force_reload)
        told = parts.crt_list_files.told(path, size=path.stat().st_size)
        return answer(told, 202 if reload else 201, reload=reload)

    @put("/{name:str}", sync_to_thread=True)
    def replace(
        self,
        parts: Parts,
        request: Call,
        name: str,
        body: bytes,
        *,
        skip_reload: bool = False,
        force_reload: bool = False,
    ) -> Response[Any]:
        text = text_body(request, body)
        path = parts.crt_list_files.replace(name, text.encode())
        reload = parts.reload(skip=skip_reload, force=force_reload)
        told = parts.crt_list_files.told(path, size=len(text))
        return answer(told, 202 if reload else 200, reload=reload)

    @delete("/{name:str}", status_code=200, sync_to_thread=True)
    def drop(
        self, parts: Parts, name: str, *, skip_reload: bool = False, force_reload: bool = False
    ) -> Response[Any]:
        parts.crt_list_files.delete(name, parts.configuration.memory)
        reload = parts.reload(skip=skip_reload, force=force_reload)
        return nothing(202 if reload else 204, reload=reload)


def _served(
    parts: Parts, path: Path, status: int, *, new: bool, skip: bool, force: bool
) -> Response[Any]:
    """Tell HAProxy of a stored certificate; if it doesn't take it, a reload is to bring it."""
    told = parts.certificate_files.described(path)
    if not (skip or force):
        try:
            change = parts.certificates.create if new else parts.certificates.replace
            change(str(path), path.read_text())
        except ApiError:
            return answer(told, 202, reload=parts.reload())
    else:
        parts.reload(skip=skip, force=force)
    return answer(told, status)


def _content(path: Path) -> Response[Any]:
    return Response(path.read_bytes(), media_type="application/octet-stream")
