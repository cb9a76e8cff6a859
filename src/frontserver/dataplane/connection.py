"""One kept set of connections to a Data Plane API: send, wait, repeat where that is safe."""

from __future__ import annotations

import asyncio
import base64
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec

from frontserver.dataplane.errors import DataPlaneError, OutcomeUnknownError
from frontserver.dataplane.refusals import refusal
from frontserver.dataplane.transport import KeptConnections
from frontserver.errors import (
    CertificateError,
    ProxyError,
    ProxyUnavailableError,
    SettingsError,
)

_CONNECT_SECONDS = 2.0
_RUNTIME_SECONDS = 5.0
# A whole configuration is parsed, checked, written and loaded.
_WRITE_FACTOR = 2.0
_ATTEMPTS = 3
_FIRST_PAUSE_SECONDS = 0.05
# What a gateway in front of the API says while the API restarts.
_GATEWAY = frozenset({502, 503, 504})
_ACCESS = "set FRONTSERVER_DATAPLANE_USER and FRONTSERVER_DATAPLANE_PASSWORD to one of its users"

T = TypeVar("T")
Pause = Callable[[float], Awaitable[None]]


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What came back."""

    status: int
    body: bytes
    headers: httpx.Headers

    def header(self, name: str) -> str | None:
        """A header's value, `None` if it isn't there."""
        value: str | None = self.headers.get(name)
        return value

    @property
    def version(self) -> int | None:
        """The configuration's version, as the API has it in memory."""
        said = self.header("configuration-version")
        return int(said) if said and said.isdecimal() else None


class Connection:
    """Sends requests below `/v3`; returns answers of any status but those for no access."""

    def __init__(
        self,
        url: str,
        *,
        user: str | None,
        password: str | None,
        ca: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        timeout: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
        pause: Pause = asyncio.sleep,
    ) -> None:
        base = _base(url)
        self.url = str(base)
        self._base = base
        self._prefix = base.raw_path.rstrip(b"/") + b"/v3"
        trust = _trust(ca, certificate, key) if base.scheme == "https" else None
        self._transport = transport or KeptConnections(trust)
        self._headers = [(b"Host", base.netloc), (b"Accept", b"*/*")]
        if user is not None:
            login = base64.b64encode(f"{user}:{password or ''}".encode())
            self._headers.append((b"Authorization", b"Basic " + login))
        self._pause = pause
        self.runtime_seconds = min(_RUNTIME_SECONDS, timeout)
        self.seconds = timeout
        self.write_seconds = timeout * _WRITE_FACTOR

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        media_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
        safe: bool | None = None,
    ) -> Answer:
        """The answer to one request; `path` is below `/v3`, percent-encoded, with its query.

        `safe` says whether a repeat does no harm, which reading never does. Raises
        `ProxyUnavailableError`, and `OutcomeUnknownError` if a change may have been made.
        """
        repeatable = method == "GET" if safe is None else safe
        attempt = 1
        while True:
            try:
                answer = await self._once(method, path, body, media_type, headers, seconds)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if attempt == _ATTEMPTS:
                    raise self._unreachable(error) from error
            except httpx.TransportError as error:
                lost = not isinstance(error, httpx.TimeoutException)
                if not (repeatable and lost and attempt < _ATTEMPTS):
                    raise self._lost(method, path, _words(error), repeatable) from error
            else:
                if answer.status not in _GATEWAY:
                    return self._admitted(answer)
                if not repeatable or attempt == _ATTEMPTS:
                    raise self._lost(method, path, f"status {answer.status}", repeatable)
            await self._pause(_FIRST_PAUSE_SECONDS * 2**attempt * random.uniform(0.5, 1.0))  # noqa: S311
            attempt += 1

    async def close(self) -> None:
        """Let go of all connections."""
        await self._transport.aclose()

    async def _once(
        self,
        method: str,
        path: str,
        body: bytes | None,
        media_type: str,
        headers: Mapping[str, str] | None,
        seconds: float | None,
    ) -> Answer:
        limit = self.seconds if seconds is None else seconds
        all_headers = [*self._headers]
        if body is not None:
            all_headers.append((b"Content-Type", media_type.encode()))
            all_headers.append((b"Content-Length", b"%d" % len(body)))
        for name, value in (headers or {}).items():
            all_headers.append((name.encode(), value.encode()))
        request = httpx.Request(
            method,
            self._base.copy_with(raw_path=self._prefix + path.encode()),
            headers=all_headers,
            stream=httpx.ByteStream(body or b""),
            extensions={"timeout": {"connect": _CONNECT_SECONDS, "read": limit}},
        )
        response = await self._transport.handle_async_request(request)
        try:
            content = await response.aread()
        finally:
            await response.aclose()
        return Answer(response.status_code, content, response.headers)

    def _admitted(self, answer: Answer) -> Answer:
        if answer.status == 401:
            raise ProxyUnavailableError(
                f"the Data Plane API at {self.url} doesn't know the user or the password",
                hint=_ACCESS,
            )
        if answer.status == 403:
            raise ProxyUnavailableError(
                f"the Data Plane API at {self.url} doesn't let this user in", hint=_ACCESS
            )
        return answer

    def _unreachable(self, error: Exception) -> ProxyUnavailableError:
        return ProxyUnavailableError(
            f"the Data Plane API at {self.url} can't be reached: {_words(error)}",
            hint="see that it runs, and that FRONTSERVER_DATAPLANE_URL is where it listens",
        )

    def _lost(self, method: str, path: str, why: str, repeatable: bool) -> ProxyUnavailableError:
        what = f"{method} {path.partition('?')[0]}: {why}"
        if repeatable:
            return ProxyUnavailableError(f"the Data Plane API at {self.url} didn't answer {what}")
        return OutcomeUnknownError(
            f"the Data Plane API at {self.url} didn't answer {what}; it may have done it"
        )


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _base(url: str) -> httpx.URL:
    """Raises `SettingsError`."""
    try:
        base = httpx.URL(url.rstrip("/").removesuffix("/v3"))
    except httpx.InvalidURL as error:
        raise _bad_url(f"is no URL: {error}") from error
    if base.scheme not in {"http", "https"} or not base.host:
        raise _bad_url("must begin with http:// or https:// and name a host")
    if base.userinfo:
        raise _bad_url(f"must not hold a password: {_ACCESS}")
    return base


def _bad_url(why: str) -> SettingsError:
    return SettingsError([f"FRONTSERVER_DATAPLANE_URL {why}"])


def _trust(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Raises `CertificateError`."""
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(str(path) for path in (ca, certificate, key) if path is not None)
        raise CertificateError(
            f"the TLS files for the Data Plane API can't be used ({files}): {error}",
            hint="they must be PEM files, readable, and the key that of the certificate",
        ) from error
    return context


def accepted(answer: Answer, *statuses: int) -> Answer:
    """The answer, if it has one of these statuses; else raises what its refusal means."""
    if answer.status in statuses:
        return answer
    raise refused(answer)


def refused(answer: Answer) -> ProxyError:
    """The error for an answer that isn't what was asked for."""
    return refusal(answer.status, answer.body)


def decoded(answer: Answer, decoder: msgspec.json.Decoder[T], status: int = 200) -> T:
    """The body of an answer with this status; else raises what its refusal means."""
    accepted(answer, status)
    try:
        return decoder.decode(answer.body)
    except msgspec.DecodeError as error:
        raise DataPlaneError(
            f"the Data Plane API's answer can't be read: {error}", status=answer.status
        ) from error
