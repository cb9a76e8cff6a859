"""An agent's conversations with the API, without I/O: both clients drive these same steps."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from frontserver.agent import batches
from frontserver.agent.calls import (
    Answer,
    Call,
    NoAnswer,
    Pause,
    Steps,
    json_as,
    refusal,
    text,
)
from frontserver.agent.errors import LocalError, NotActiveError, RefusedError, UnreachableError
from frontserver.agent.retry import RETRIED_STATUSES, RetryPolicy, pauses, retry_after
from frontserver.model.names import AgentId
from frontserver.wire.agents import (
    Acknowledgement,
    AuthenticateAnswer,
    AuthenticateRequest,
    RegisterAnswer,
    RegisterRequest,
    RotateKeyRequest,
)
from frontserver.wire.batches import BatchAnswer, RouteOutcome
from frontserver.wire.certificates import (
    AgentConfig,
    CertificateAnswer,
    CertificateBundle,
    SigningRequest,
)
from frontserver.wire.routes.answers import (
    HttpRouteAnswer,
    MongoRouteAnswer,
    RouteAnswer,
    RouteList,
    RouteView,
)
from frontserver.wire.routes.options import HttpOptions, MongoOptions

T = TypeVar("T")
Published = TypeVar("Published", HttpRouteAnswer, MongoRouteAnswer)

RouteType = Literal["http", "mongodb"]
# Options as a checked struct, or as JSON members that the server checks.
HttpChoices = HttpOptions | Mapping[str, Any]
MongoChoices = MongoOptions | Mapping[str, Any]

# The longest wait asked of the server in one request (RFC 7240 section 4.3).
_LONGEST_PREFER = 30
_POLL_FIRST = 0.25
_POLL_LONGEST = 5.0


class Session:
    """One agent's identity and token, and the steps of each call.

    `on_token(token, expires_at)` is called with each new token. `clock` gives seconds,
    `now` the time of day, `draw` numbers from 0 up to 1.
    """

    def __init__(
        self,
        url: str,
        agent_id: str,
        *,
        key: str | None = None,
        token: str | None = None,
        policy: RetryPolicy | None = None,
        on_token: Callable[[str, str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.url = url
        self.agent_id = str(AgentId(agent_id))  # msgspec encodes no subclasses of str
        self.token = token
        self._key = key
        self._policy = policy or RetryPolicy()
        self._on_token = on_token
        self._clock = clock
        self._now = now
        self._draw = draw
        self._locations: dict[str, str] = {}

    # -- identity ---------------------------------------------------------------------------

    def register(self, name: str | None, target_ip: str | None) -> Steps[RegisterAnswer]:
        body = _members(
            RegisterRequest(self.agent_id, self._known_key(), name, target_ip),
        )
        call = Call("POST", "api/agents/register", json_as(RegisterAnswer), body=body, signed=False)
        answer = yield from self._perform(call)
        self._take(answer.token, answer.expires_at)
        return answer

    def authenticate(self) -> Steps[AuthenticateAnswer]:
        return (yield from self._authenticate(self._known_key()))

    def rotate_key(self, new_key: str) -> Steps[AuthenticateAnswer]:
        path = f"api/agents/{self.agent_id}/key"
        body = RotateKeyRequest(new_key)
        call = Call("POST", path, lambda _: True, body=body)
        try:
            yield from self._perform(call)
        except RefusedError as refused:
            if refused.status != 401:
                raise
            # An attempt whose answer was lost may have changed it: the old key is void then.
            try:
                answer = yield from self._authenticate(new_key)
            except RefusedError:
                raise refused from None
        else:
            answer = yield from self._authenticate(new_key)
        self._key = new_key
        return answer

    def _authenticate(self, key: str) -> Steps[AuthenticateAnswer]:
        call = Call(
            "POST",
            "api/agents/authenticate",
            json_as(AuthenticateAnswer),
            body=AuthenticateRequest(self.agent_id, key),
            signed=False,
        )
        answer = yield from self._perform(call)
        self._take(answer.token, answer.expires_at)
        return answer

    def _take(self, token: str, expires_at: str) -> None:
        self.token = token
        if self._on_token is not None:
            self._on_token(token, expires_at)

    def _known_key(self) -> str:
        if self._key is None:
            raise LocalError("the agent's key is needed for this", hint="give its key")
        return self._key

    # -- routes -----------------------------------------------------------------------------

    def add_http(
        self,
        subdomain: str,
        target_url: str | None,
        options: HttpChoices | None,
        wait: float | None,
        path: str | None = None,
    ) -> Steps[HttpRouteAnswer]:
        body = {
            "agentId": self.agent_id,
            "subdomain": subdomain,
            "path": path,
            "targetUrl": target_url,
            "options": options,
        }
        return (yield from self._publish("api/proxy/http", HttpRouteAnswer, body, wait))

    def add_mongodb(
        self,
        target_host: str | None,
        target_port: int,
        options: MongoChoices | None,
        wait: float | None,
    ) -> Steps[MongoRouteAnswer]:
        body = {
            "agentId": self.agent_id,
            "targetHost": target_host,
            "targetPort": target_port,
            "options": options,
        }
        return (yield from self._publish("api/proxy/mongodb", MongoRouteAnswer, body, wait))

    def _publish(
        self, path: str, shape: type[Published], body: dict[str, Any], wait: float | None
    ) -> Steps[Published]:
        read = json_as(shape)

        def note(answer: Answer) -> Published:
            result = read(answer)
            location = answer.headers.get("location")
            self._locations.pop(_place(result.route), None)
            if answer.status == 202 and location:
                self._locations[_place(result.route)] = location
            return result

        present = {name: value for name, value in body.items() if value is not None}
        return (yield from self._perform(_waiting(path, note, present, wait)))

    def add_routes(
        self, routes: Iterable[Mapping[str, Any]], wait: float | None
    ) -> Steps[list[RouteOutcome]]:
        done: list[RouteOutcome] = []
        read = json_as(BatchAnswer)
        for body in batches.requests(routes, self.agent_id):
            answer = yield from self._perform(_waiting("api/proxy/routes", read, body, wait))
            done += answer.routes
        return done

    def routes(self) -> Steps[RouteList]:
        path = f"api/proxy/agents/{self.agent_id}"
        page = yield from self._perform(Call("GET", path, json_as(RouteList)))
        found = page.routes
        while page.next:
            more = f"{path}?{urlencode({'after': page.next})}"
            page = yield from self._perform(Call("GET", more, json_as(RouteList)))
            found = [*found, *page.routes]
        return msgspec.structs.replace(page, routes=found, next=None)

    def remove(
        self,
        subdomain: str | None,
        type: RouteType,  # noqa: A002 - the API's own name for it
        path: str | None = None,
    ) -> Steps[Acknowledgement]:
        # The API takes a body too, but some proxies drop the body of a DELETE.
        query: dict[str, str] = {"agentId": self.agent_id, "type": type}
        if subdomain is not None:
            query["subdomain"] = subdomain
        if path is not None:
            query["path"] = path
        call = Call(
            "DELETE",
            f"api/proxy?{urlencode(query)}",
            json_as(Acknowledgement),
            gone=Acknowledgement(message="the route is removed", status="removed"),
        )
        return (yield from self._perform(call))

    def wait_active(
        self, route: HttpRouteAnswer | MongoRouteAnswer | RouteView, seconds: float
    ) -> Steps[RouteView]:
        view = route if isinstance(route, RouteView) else route.route
        deadline = self._clock() + seconds
        pause = _POLL_FIRST
        while view.status == "pending":
            left = deadline - self._clock()
            if left <= 0:
                raise NotActiveError(
                    f"{_place(view)} is stored, and still pending after {seconds:g} s"
                    + (f": {view.reason}" if view.reason else ""),
                    status=view.status,
                    hint="the front server goes on trying; look again with `routes`",
                )
            yield Pause(min(pause, left))
            pause = min(_POLL_LONGEST, pause * 2)
            view = yield from self._look(view)
        if view.status == "failed":
            raise NotActiveError(
                f"{_place(view)} failed: {view.reason or 'no reason given'}", status=view.status
            )
        self._locations.pop(_place(view), None)
        return view

    def _look(self, view: RouteView) -> Steps[RouteView]:
        location = self._locations.get(_place(view))
        if location is None:
            listed = yield from self.routes()
            return _one_of(listed.routes, view)
        # Only path and query: the token must not go to another host.
        parts = urlsplit(location)
        path = parts.path.lstrip("/") + (f"?{parts.query}" if parts.query else "")
        answer = yield from self._perform(Call("GET", path, json_as(RouteAnswer)))
        return answer.route

    # -- certificates -----------------------------------------------------------------------

    def config(self) -> Steps[AgentConfig]:
        return (
            yield from self._perform(
                Call("GET", f"api/config/{self.agent_id}", json_as(AgentConfig))
            )
        )

    def certificates(self) -> Steps[CertificateBundle]:
        return (yield from self.config()).certificates

    def ca(self) -> Steps[str]:
        call = Call("GET", "api/certificates/mongodb-ca", text, signed=False)
        return (yield from self._perform(call))

    def sign(self, csr_pem: str) -> Steps[CertificateAnswer]:
        path = f"api/certificates/agent/{quote(self.agent_id)}/csr"
        call = Call("POST", path, json_as(CertificateAnswer), body=SigningRequest(csr_pem))
        return (yield from self._perform(call))

    # -- one call ---------------------------------------------------------------------------

    def _perform(self, call: Call[T]) -> Steps[T]:
        """Send `call` until it is answered; on a 401 get a new token, once."""
        fresh = False
        if call.signed and self.token is None:
            yield from self.authenticate()
            fresh = True
        answer, unsure = yield from self._answered(call)
        if answer.status == 401 and call.signed and self._key is not None and not fresh:
            yield from self.authenticate()
            answer, _ = yield from self._answered(call)
        if 200 <= answer.status < 300:
            return call.read(answer)
        if answer.status == 404 and unsure and call.gone is not None:
            return call.gone
        raise refusal(answer, self.url)

    def _answered(self, call: Call[T]) -> Steps[tuple[Answer, bool]]:
        """The first answer that isn't "try again", or the last one; and whether one was lost."""
        waits = pauses(self._policy, self._draw)
        unsure = False
        for attempt in range(1, self._policy.attempts + 1):
            outcome = yield call.request(self.token)
            if isinstance(outcome, Answer) and outcome.status not in RETRIED_STATUSES:
                return outcome, unsure
            unsure = unsure or not isinstance(outcome, Answer) or outcome.status in {502, 504}
            pause = self._pause(outcome, next(waits, None))
            if pause is not None:
                yield Pause(pause)
            elif isinstance(outcome, Answer):
                return outcome, unsure
            else:
                raise self._unreachable(outcome, attempt)
        raise AssertionError("the last attempt has no pause after it")

    def _pause(self, outcome: Answer | NoAnswer | None, planned: float | None) -> float | None:
        """Seconds before the next attempt; `None` when there is none to make."""
        if planned is None:
            return None
        if isinstance(outcome, Answer):
            asked = retry_after(outcome.headers.get("retry-after"), self._now()) or 0.0
            return None if asked > self._policy.patience else max(asked, planned)
        return None if outcome is not None and outcome.final else planned

    def _unreachable(self, outcome: NoAnswer | None, attempts: int) -> UnreachableError:
        reason = outcome.reason if outcome else "no outcome"
        times = f" ({attempts} attempts)" if attempts > 1 else ""
        return UnreachableError(
            f"can't reach the front server at {self.url}: {reason}{times}",
            hint=(outcome.hint if outcome else None) or "check the URL and that it runs",
        )


def _members(body: msgspec.Struct) -> dict[str, Any]:
    """The JSON members of `body` without those that are null."""
    members: dict[str, Any] = msgspec.to_builtins(body)
    return {name: value for name, value in members.items() if value is not None}


def _waiting(path: str, read: Callable[[Answer], T], body: object, wait: float | None) -> Call[T]:
    """A call that the server answers once HAProxy is there, or after `wait` seconds."""
    if wait is None:
        return Call("POST", path, read, body=body)
    prefer = min(_LONGEST_PREFER, max(0, int(wait)))
    headers = {"prefer": f"wait={prefer}"}
    return Call("POST", path, read, body=body, headers=headers, patience=prefer)


def _place(route: RouteView) -> str:
    """The domain, and the path below it where the route begins at one."""
    return route.domain + (route.path or "")


def _one_of(routes: list[RouteView], wanted: RouteView) -> RouteView:
    for route in routes:
        if (route.type, _place(route)) == (wanted.type, _place(wanted)):
            return route
    raise NotActiveError(f"{_place(wanted)} was removed meanwhile", status="removed")
