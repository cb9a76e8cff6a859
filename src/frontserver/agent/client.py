"""The two clients: thin drivers of `Session` over httpx, one blocking, one for asyncio."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from frontserver.agent.calls import Answer, NoAnswer, Pause, Request, Steps
from frontserver.agent.errors import LocalError
from frontserver.agent.retry import RetryPolicy
from frontserver.agent.session import HttpChoices, MongoChoices, RouteType, Session
from frontserver.wire.agents import Acknowledgement, AuthenticateAnswer, RegisterAnswer
from frontserver.wire.batches import RouteOutcome
from frontserver.wire.certificates import AgentConfig, CertificateAnswer, CertificateBundle
from frontserver.wire.routes.answers import HttpRouteAnswer, MongoRouteAnswer, RouteList, RouteView

T = TypeVar("T")

DEFAULT_TIMEOUT = 15.0


class Client:
    """The blocking client of one agent; a context manager.

    `url` is the API's base URL. Give `key`, `token` or both: with the key a token is fetched
    when there is none, and again when it has expired. `ca_file` (PEM) is what the API's own
    TLS certificate is verified against instead of the system's CAs. `timeout` is in seconds.
    Every method raises an `AgentError`; `on_token(token, expires_at)` sees each new token.
    """

    def __init__(
        self,
        url: str,
        agent_id: str,
        *,
        key: str | None = None,
        token: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        ca_file: Path | str | None = None,
        transport: httpx.BaseTransport | None = None,
        policy: RetryPolicy | None = None,
        on_token: Callable[[str, str], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.session = Session(
            url, agent_id, key=key, token=token, policy=policy, on_token=on_token, clock=clock
        )
        self._timeout = timeout
        self._sleep = sleep
        self._http = httpx.Client(
            base_url=_checked(url), verify=_tls(url, ca_file), transport=transport
        )

    def register(self, name: str | None = None, target_ip: str | None = None) -> RegisterAnswer:
        """Bind the agent id to the key; repeating it changes nothing."""
        return self._drive(self.session.register(name, target_ip))

    def authenticate(self) -> AuthenticateAnswer:
        """Get a new token for the key."""
        return self._drive(self.session.authenticate())

    def rotate_key(self, new_key: str) -> AuthenticateAnswer:
        """Replace the key; older tokens end, and the answer holds a new one."""
        return self._drive(self.session.rotate_key(new_key))

    def add_http(
        self,
        subdomain: str,
        target_url: str | None = None,
        options: HttpChoices | None = None,
        *,
        path: str | None = None,
        wait: float | None = None,
    ) -> HttpRouteAnswer:
        """Add or update `subdomain.APP_DOMAIN`, or what of it is below `path`.

        The server waits up to `wait` s for `active`.
        """
        return self._drive(self.session.add_http(subdomain, target_url, options, wait, path))

    def add_mongodb(
        self,
        target_host: str | None = None,
        target_port: int = 27017,
        options: MongoChoices | None = None,
        *,
        wait: float | None = None,
    ) -> MongoRouteAnswer:
        """Add or update `AGENT_ID.MONGO_DOMAIN`; without a host it is the agent's address."""
        return self._drive(self.session.add_mongodb(target_host, target_port, options, wait))

    def add_routes(
        self, routes: Iterable[Mapping[str, Any]], *, wait: float | None = None
    ) -> list[RouteOutcome]:
        """Add or update many routes: what became of each, in their order.

        Each has the members of POST /api/proxy/http or, with `type` mongodb, of
        POST /api/proxy/mongodb. Of a request all are stored or none; more than 1,000 routes, or
        240 KiB, are several requests. If one of those is refused, those before it are stored.
        """
        return self._drive(self.session.add_routes(routes, wait))

    def wait_active(
        self, route: HttpRouteAnswer | MongoRouteAnswer | RouteView, seconds: float = 60.0
    ) -> RouteView:
        """Poll until the route is active; `NotActiveError` if it fails or time runs out."""
        return self._drive(self.session.wait_active(route, seconds))

    def routes(self) -> RouteList:
        """All routes of this agent."""
        return self._drive(self.session.routes())

    def remove(
        self,
        subdomain: str | None = None,
        type: RouteType = "http",  # noqa: A002 - the API's own name for it
        *,
        path: str | None = None,
    ) -> Acknowledgement:
        """Remove an HTTP route by subdomain and path, or (`type="mongodb"`) the MongoDB route.

        Other paths of the subdomain stay.
        """
        return self._drive(self.session.remove(subdomain, type, path))

    def config(self) -> AgentConfig:
        """Domains, the current certificate and mongod's TLS settings."""
        return self._drive(self.session.config())

    def certificates(self) -> CertificateBundle:
        """The current certificate, its key and the CA."""
        return self._drive(self.session.certificates())

    def ca(self) -> str:
        """The CA certificate (a bundle while a rotation overlaps), PEM."""
        return self._drive(self.session.ca())

    def sign(self, csr_pem: str) -> CertificateAnswer:
        """Have a PKCS#10 request signed; the key stays where it was made."""
        return self._drive(self.session.sign(csr_pem))

    def close(self) -> None:
        """Close connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _drive(self, steps: Steps[T]) -> T:
        outcome: Answer | NoAnswer | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as stop:
                result: T = stop.value
                return result
            if isinstance(step, Pause):
                self._sleep(step.seconds)
                outcome = None
            else:
                outcome = self._send(step)

    def _send(self, request: Request) -> Answer | NoAnswer:
        limit = self._timeout + request.patience
        try:
            return _answer(self._http.send(_message(self._http, request, limit)))
        except httpx.RequestError as error:
            return _no_answer(error, limit)


class AsyncClient:
    """`Client` for asyncio: the same arguments and methods, awaited; an async context manager."""

    def __init__(
        self,
        url: str,
        agent_id: str,
        *,
        key: str | None = None,
        token: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        ca_file: Path | str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        policy: RetryPolicy | None = None,
        on_token: Callable[[str, str], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.session = Session(
            url, agent_id, key=key, token=token, policy=policy, on_token=on_token, clock=clock
        )
        self._timeout = timeout
        self._sleep = sleep
        self._http = httpx.AsyncClient(
            base_url=_checked(url), verify=_tls(url, ca_file), transport=transport
        )

    async def register(
        self, name: str | None = None, target_ip: str | None = None
    ) -> RegisterAnswer:
        """See `Client.register`."""
        return await self._drive(self.session.register(name, target_ip))

    async def authenticate(self) -> AuthenticateAnswer:
        """See `Client.authenticate`."""
        return await self._drive(self.session.authenticate())

    async def rotate_key(self, new_key: str) -> AuthenticateAnswer:
        """See `Client.rotate_key`."""
        return await self._drive(self.session.rotate_key(new_key))

    async def add_http(
        self,
        subdomain: str,
        target_url: str | None = None,
        options: HttpChoices | None = None,
        *,
        path: str | None = None,
        wait: float | None = None,
    ) -> HttpRouteAnswer:
        """See `Client.add_http`."""
        return await self._drive(self.session.add_http(subdomain, target_url, options, wait, path))

    async def add_mongodb(
        self,
        target_host: str | None = None,
        target_port: int = 27017,
        options: MongoChoices | None = None,
        *,
        wait: float | None = None,
    ) -> MongoRouteAnswer:
        """See `Client.add_mongodb`."""
        return await self._drive(self.session.add_mongodb(target_host, target_port, options, wait))

    async def add_routes(
        self, routes: Iterable[Mapping[str, Any]], *, wait: float | None = None
    ) -> list[RouteOutcome]:
        """See `Client.add_routes`."""
        return await self._drive(self.session.add_routes(routes, wait))

    async def wait_active(
        self, route: HttpRouteAnswer | MongoRouteAnswer | RouteView, seconds: float = 60.0
    ) -> RouteView:
        """See `Client.wait_active`."""
        return await self._drive(self.session.wait_active(route, seconds))

    async def routes(self) -> RouteList:
        """See `Client.routes`."""
        return await self._drive(self.session.routes())

    async def remove(
        self,
        subdomain: str | None = None,
        type: RouteType = "http",  # noqa: A002 - the API's own name for it
        *,
        path: str | None = None,
    ) -> Acknowledgement:
        """See `Client.remove`."""
        return await self._drive(self.session.remove(subdomain, type, path))

    async def config(self) -> AgentConfig:
        """See `Client.config`."""
        return await self._drive(self.session.config())

    async def certificates(self) -> CertificateBundle:
        """See `Client.certificates`."""
        return await self._drive(self.session.certificates())

    async def ca(self) -> str:
        """See `Client.ca`."""
        return await self._drive(self.session.ca())

    async def sign(self, csr_pem: str) -> CertificateAnswer:
        """See `Client.sign`."""
        return await self._drive(self.session.sign(csr_pem))

    async def aclose(self) -> None:
        """Close connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _drive(self, steps: Steps[T]) -> T:
        outcome: Answer | NoAnswer | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as stop:
                result: T = stop.value
                return result
            if isinstance(step, Pause):
                await self._sleep(step.seconds)
                outcome = None
            else:
                outcome = await self._send(step)

    async def _send(self, request: Request) -> Answer | NoAnswer:
        limit = self._timeout + request.patience
        try:
            return _answer(await self._http.send(_message(self._http, request, limit)))
        except httpx.RequestError as error:
            return _no_answer(error, limit)


def _checked(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise LocalError(f"{url!a} is not a URL: {error}") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise LocalError(f"{url!a} is not a URL of an API: write https://HOST[:PORT]")
    return parsed


def _tls(url: str, ca_file: Path | str | None) -> ssl.SSLContext:
    if not url.lower().startswith("https:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # Unused; loading CAs takes a while.
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise LocalError(f"the CA file {ca_file} can't be read: {error}") from error


def _message(
    http: httpx.Client | httpx.AsyncClient, request: Request, limit: float
) -> httpx.Request:
    return http.build_request(
        request.method,
        request.path,
        headers=request.headers,
        content=request.body,
        timeout=limit,
    )


def _answer(response: httpx.Response) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, response.content)


def _no_answer(error: httpx.RequestError, limit: float) -> NoAnswer:
    untrusted = _untrusted(error)
    if untrusted is not None:
        return NoAnswer(
            f"its TLS certificate isn't trusted: {untrusted.verify_message}",
            final=True,
            hint="give the CA of the API with --ca-file (SDK: ca_file=...)",
        )
    match error:
        case httpx.ConnectTimeout():
            return NoAnswer(f"no connection within {limit:g} s")
        case httpx.TimeoutException():
            return NoAnswer(f"no answer within {limit:g} s")
        case _:
            return NoAnswer(str(error) or type(error).__name__)


def _untrusted(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error
        error = error.__cause__ or error.__context__
    return None
