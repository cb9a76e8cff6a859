"""Errors as RFC 9457 problem details: one table from the error tree to HTTP.

Every answer below 500 says what was wrong with the request, in the words of the error. Answers
from 500 up say a fixed sentence, since the error's own may name files, addresses or tables; the
log holds it under the `instance` of the answer.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    InternalServerException,
    ValidationException,
)

from frontserver import errors
from frontserver.wire.problems import FieldProblem, Problem

MEDIA_TYPE = "application/problem+json"
REALM = "frontserver"
# RFC 9110 section 11.6.1; RFC 7617 section 2.1 for `charset`.
CHALLENGE = f'Bearer, Basic realm="{REALM}", charset="UTF-8"'
RETRY_SECONDS = 5
_TOO_LARGE = 413

_log = logging.getLogger(__name__)


class Kind(msgspec.Struct, frozen=True):
    """One kind of problem. `detail` replaces the error's own sentence where it is set."""

    status: int
    slug: str
    title: str
    detail: str | None = None

    @property
    def uri(self) -> str:
        """The problem's `type`: a reference relative to the server (RFC 9457 section 3.1.1)."""
        return f"/problems/{self.slug}"


INTERNAL = Kind(
    500, "internal", "Internal error", "something went wrong here; the log of the server has it"
)
INVALID = Kind(422, "invalid-request", "Invalid values")
_MALFORMED = Kind(400, "malformed-request", "Malformed request")
_BODILESS = msgspec.structs.replace(_MALFORMED, detail="this needs a body: a JSON object")
_PROXY = Kind(503, "proxy-unavailable", "HAProxy unavailable", "HAProxy can't be reached now")

# The most specific class of an error's ancestry counts.
BY_ERROR: dict[type[errors.FrontServerError], Kind] = {
    errors.FrontServerError: INTERNAL,
    errors.SettingsError: INTERNAL,
    errors.InputError: INVALID,
    errors.BatchError: INVALID,
    errors.AuthenticationError: Kind(401, "unauthenticated", "Not authenticated"),
    errors.PermissionDeniedError: Kind(403, "forbidden", "Not allowed"),
    errors.NotFoundError: Kind(404, "not-found", "Not found"),
    errors.ConflictError: Kind(409, "conflict", "Conflict"),
    errors.TooManyRequestsError: Kind(429, "too-many-requests", "Too many requests"),
    errors.StorageError: Kind(
        503, "storage-unavailable", "Storage unavailable", "the state can't be read or stored now"
    ),
    errors.CertificateError: INTERNAL,
    errors.ProxyError: _PROXY,
    errors.ProxyUnavailableError: _PROXY,
    errors.CommandRefusedError: _PROXY,
    errors.ConfigRejectedError: Kind(422, "config-rejected", "Refused by HAProxy"),
    errors.TemplateError: INTERNAL,
    errors.ProcessConflictError: _PROXY,
}

# What the framework itself raises, by status; anything else from it is INTERNAL or plain.
BY_STATUS: dict[int, Kind] = {
    400: _MALFORMED,
    404: Kind(404, "not-found", "Not found", "nothing is served under this path"),
    405: Kind(405, "method-not-allowed", "Method not allowed", "this path has other methods"),
    _TOO_LARGE: Kind(_TOO_LARGE, "too-large", "Too large"),
    415: Kind(415, "unsupported-media-type", "Unsupported media type"),
}


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The answer to any exception; Litestar's exception handler for all of them."""
    kind = kind_of(error)
    if kind.status == _TOO_LARGE:
        kind = msgspec.structs.replace(kind, detail=_too_large(request))
    problem = problem_of(error, kind)
    if _hung_up(error):
        _log.info("%s: %s", problem.instance, error)
    elif kind.status >= 500:
        _log.error("%s: %s", problem.instance, error, exc_info=error)
    return Response(
        msgspec.json.encode(problem),
        status_code=kind.status,
        media_type=MEDIA_TYPE,
        headers=_headers(error, kind.status),
    )


def kind_of(error: Exception) -> Kind:
    """The row of the table that an error falls under."""
    if isinstance(error, ValidationException):
        # What Litestar says of a handler whose body is missing.
        return _BODILESS if any(item.field == "data" for item in _fields(error)) else INVALID
    if isinstance(error, HTTPException):
        default = Kind(error.status_code, "about:blank", "Refused")
        kind = BY_STATUS.get(error.status_code, default)
        return kind if kind.status < 500 else INTERNAL
    if isinstance(error, errors.BatchError):
        # 403 before 404 before 409 before 422: each must be mended before the next one counts.
        return min(map(kind_of, error.refusals.values()), key=lambda kind: kind.status)
    if isinstance(error, errors.FrontServerError):
        return next(BY_ERROR[kind] for kind in type(error).__mro__ if kind in BY_ERROR)
    return INTERNAL


def problem_of(error: Exception, kind: Kind) -> Problem:
    """The body of the answer; `instance` is new each time, to find it in the log."""
    together = isinstance(error, errors.BatchError)
    fields = list(_fields(error)) if together or kind.status == INVALID.status else []
    detail = kind.detail or _sentence(error, [] if together else fields)
    return Problem(
        type=kind.uri,
        title=kind.title,
        status=kind.status,
        detail=detail,
        success=False,
        error=detail,
        message=detail,
        code=kind.status,
        instance=f"urn:uuid:{uuid.uuid4()}",
        errors=fields or None,
        hint=error.hint if isinstance(error, errors.FrontServerError) and not kind.detail else None,
    )


def _fields(error: Exception) -> Iterable[FieldProblem]:
    if isinstance(error, errors.InputError):
        yield FieldProblem(error.field, error.message)
    elif isinstance(error, errors.BatchError):
        for path, refusal in error.refusals.items():
            yield FieldProblem(path, refusal.message)
    elif isinstance(error, ValidationException):
        # Litestar's own shape, for path and query parameters: [{message, key, source}].
        for item in error.extra if isinstance(error.extra, list) else []:
            yield FieldProblem(str(item.get("key", "")), str(item.get("message", "is not valid")))


def _sentence(error: Exception, fields: list[FieldProblem]) -> str:
    if fields:
        return "; ".join(f"{f.field}: {f.message}" if f.field else f.message for f in fields)
    if isinstance(error, errors.FrontServerError):
        return error.message
    return error.detail if isinstance(error, HTTPException) else str(error)


def _headers(error: Exception, status: int) -> dict[str, str]:
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if status == 401:
        headers["WWW-Authenticate"] = CHALLENGE
    if isinstance(error, errors.TooManyRequestsError):
        headers["Retry-After"] = str(max(1, error.retry_after))
    elif status in {429, 503}:
        headers["Retry-After"] = str(RETRY_SECONDS)
    return headers


def _too_large(request: Request[Any, Any, Any]) -> str:
    most = request.route_handler.resolve_request_max_body_size()
    return f"the body of the request is larger than {(most or 0) >> 10} KiB"


def _hung_up(error: Exception) -> bool:
    """Whether the caller went away in the middle of its body; Litestar has no class for that."""
    return isinstance(error, InternalServerException) and "disconnected" in error.detail
