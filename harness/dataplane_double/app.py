"""The application: paths, access, and what every answer carries."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import re
import secrets
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Response, Router
from litestar.connection import ASGIConnection
from litestar.datastructures import MutableScopeHeaders
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from harness.dataplane_double import (
    api_configuration,
    api_runtime,
    api_sections,
    api_servers,
    api_status,
    api_storage,
)
from harness.dataplane_double.errors import ApiError, PanicError
from harness.dataplane_double.parts import Parts, start_threads
from harness.dataplane_double.requests import Call, plain

_CONTROLLERS = (
    api_status.StatusController,
    api_status.ReloadController,
    api_configuration.RawController,
    api_configuration.TransactionController,
    api_sections.BackendController,
    api_sections.FrontendController,
    api_sections.DefaultsController,
    api_servers.ServerController,
    api_servers.BindController,
    api_runtime.InfoController,
    api_runtime.RuntimeServerController,
    api_runtime.RuntimeMapController,
    api_runtime.RuntimeCertificateController,
    api_runtime.RuntimeCaFileController,
    api_runtime.RuntimeCrtListController,
    api_storage.MapFileController,
    api_storage.GeneralFileController,
    api_storage.CertificateFileController,
    api_storage.CrtListFileController,
)
_log = logging.getLogger("uvicorn.error")

# What is refused before the handler of a path is asked.
_BEFORE = (415, 422)


def application(parts: Parts) -> ASGIApp:
    """The API below `/v3`, as an ASGI application."""

    def provided() -> Parts:
        return parts

    async def with_version(message: Message, scope: Scope) -> None:
        if message["type"] == "http.response.start" and not scope["state"].get("panicked"):
            headers = MutableScopeHeaders.from_message(message)
            headers.setdefault("Configuration-Version", _version(parts, scope))
            if headers.get("content-length") == "0":
                headers.pop("content-type", None)

    @asynccontextmanager
    async def threads(_: Litestar) -> AsyncIterator[None]:
        stopped = threading.Event()
        start_threads(parts, stopped)
        yield
        stopped.set()

    router = Router("/v3", route_handlers=list(_CONTROLLERS), guards=[_guard(parts)])
    app = Litestar(
        [router],
        dependencies={"parts": Provide(provided, sync_to_thread=False)},
        exception_handlers={
            ApiError: _refused,
            PanicError: _panicked,
            HTTPException: _mistaken,
            OSError: _broken,
            Exception: _failed,
        },
        before_send=[with_version],
        lifespan=[threads],
        openapi_config=None,
        request_max_body_size=None,
    )

    async def with_raw_path(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            # Names of certificates are paths, with their slashes quoted.
            scope["path"] = scope["raw_path"].decode().partition("?")[0]
        await app(scope, receive, send)

    return with_raw_path


def _guard(parts: Parts) -> Any:
    users = parts.settings.users
    by_certificate = parts.settings.tls is not None and parts.settings.tls.ca is not None

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if by_certificate:
            return
        user, password = _credentials(connection.headers.get("authorization", ""))
        known = users.get(user)
        if known is None or not secrets.compare_digest(known.encode(), password.encode()):
            raise ApiError(401, "unauthenticated for invalid credentials")

    return guard


def _credentials(header: str) -> tuple[str, str]:
    try:
        text = base64.b64decode(header.removeprefix("Basic "), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    user, _, password = text.partition(":")
    return user, password


def _version(parts: Parts, scope: Scope) -> str:
    query = dict(
        pair.partition("=")[::2] for pair in scope["query_string"].decode().split("&") if pair
    )
    try:
        return str(parts.configuration.version(query.get("transaction_id")))
    except ApiError:
        return "0"


def _refused(request: Call, error: ApiError) -> Response[Any]:
    if error.status == 401:
        headers = {"WWW-Authenticate": 'Basic realm="API"'}
        return Response(error.payload(), status_code=401, headers=headers)
    media = _media(request) if error.status not in _BEFORE else None
    if media is None:
        return Response(error.payload(), status_code=error.status)
    return plain(_text(error.payload()), error.status, media)


def _media(request: Call) -> str | None:
    """What an error is called where it isn't called JSON, which it is."""
    path = request.scope["path"].removeprefix("/v3/services/haproxy/")
    if path == "configuration/raw":
        return "text/plain"
    if request.method == "GET" and re.fullmatch("storage/(maps|general|ssl_crt_lists)/.+", path):
        return "application/octet-stream"
    return None


def _text(payload: dict[str, object]) -> str:
    return json.dumps(payload, separators=(",", ":"))


def _panicked(request: Call, error: PanicError) -> Response[Any]:
    request.scope["state"]["panicked"] = True
    return plain(_text({"code": 500, "message": str(error)}), 500)


def _mistaken(request: Call, error: HTTPException) -> Response[Any]:
    """What Litestar refuses: unknown paths and methods, parameters of another type."""
    message = str(error.detail)
    if error.status_code == 404:
        message = f"path {request.scope['path']} was not found"
    return Response({"code": error.status_code, "message": message}, status_code=error.status_code)


def _broken(_: Call, error: OSError) -> Response[Any]:
    """Files that can't be written."""
    return Response({"code": 500, "message": str(error)}, status_code=500)


def _failed(request: Call, error: Exception) -> Response[Any]:
    """A mistake of the double's own, which no test may take for an answer of the real one."""
    _log.error("%s %s", request.method, request.url, exc_info=error)
    words = f"the double failed: {type(error).__name__}: {error}"
    return Response({"code": 501, "message": words}, status_code=501)
