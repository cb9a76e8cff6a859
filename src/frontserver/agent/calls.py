"""One call to the API as plain data: what to send, and how to read what comes back. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from frontserver.agent.errors import (
    AgentError,
    RefusedError,
    UnexpectedAnswerError,
    UnreachableError,
)
from frontserver.agent.retry import RETRIED_STATUSES
from frontserver.wire.problems import FieldProblem, Problem

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """To be sent. `path` is relative to the base URL; `patience` adds seconds to the time limit."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None = None
    patience: float = 0.0


class Answer(msgspec.Struct, frozen=True):
    """What came back; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoAnswer(msgspec.Struct, frozen=True):
    """Why nothing came back. `final`: another attempt can't help."""

    reason: str
    final: bool = False
    hint: str | None = None


class Pause(msgspec.Struct, frozen=True):
    """Wait this many seconds."""

    seconds: float


# A conversation yields what to do next, is sent the outcome, and returns its result.
Steps = Generator[Request | Pause, Answer | NoAnswer | None, T]


class Call(Generic[T]):
    """A method and path of the API with its body and the reading of its answer.

    `signed` calls carry the token. `gone` is the result when a 404 follows an attempt whose
    answer was lost: the first attempt did the work.
    """

    def __init__(
        self,
        method: str,
        path: str,
        read: Callable[[Answer], T],
        *,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        signed: bool = True,
        patience: float = 0.0,
        gone: T | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.read = read
        self.body = None if body is None else msgspec.json.encode(body)
        self.headers = dict(headers or {})
        self.signed = signed
        self.patience = patience
        self.gone = gone

    def request(self, token: str | None) -> Request:
        """What to send, signed with `token` if the call needs that."""
        headers = {"accept": "application/json", **self.headers}
        if self.body is not None:
            headers["content-type"] = "application/json"
        if self.signed and token is not None:
            headers["authorization"] = f"Bearer {token}"
        return Request(
            method=self.method,
            path=self.path,
            headers=headers,
            body=self.body,
            patience=self.patience,
        )


def json_as(shape: type[S]) -> Callable[[Answer], S]:
    """A reader of JSON bodies; it raises `UnexpectedAnswerError` for another shape."""

    def read(answer: Answer) -> S:
        try:
            return msgspec.json.decode(answer.body, type=shape)
        except msgspec.DecodeError as error:
            raise unexpected(answer, f"it can't be read as {shape.__name__}: {error}") from error

    return read


def text(answer: Answer) -> str:
    """The body as text (PEM files are ASCII)."""
    try:
        return answer.body.decode("ascii")
    except UnicodeDecodeError as error:
        raise unexpected(answer, "it isn't PEM text") from error


def unexpected(answer: Answer, why: str) -> UnexpectedAnswerError:
    """The error for an answer that this API doesn't give."""
    return UnexpectedAnswerError(
        f"the answer (status {answer.status}) isn't one of a front server: {why}",
        hint="check the URL, and any proxy on the way",
    )


def refusal(answer: Answer, url: str) -> AgentError:
    """The error for an answer outside 2xx, from the server's own words if it has any."""
    if 300 <= answer.status < 400:
        target = answer.headers.get("location", "elsewhere")
        return UnexpectedAnswerError(
            f"{url} redirects to {target}", hint="set the URL to where the API is"
        )
    problem = _problem(answer)
    if answer.status in RETRIED_STATUSES and answer.status != 429:
        said = problem.detail if problem else "a gateway answers in its place"
        return UnreachableError(
            f"the front server at {url} isn't available (status {answer.status}): {said}",
            hint="try again later",
        )
    if problem is None:
        start = answer.body[:120].decode("utf-8", "replace").strip()
        return unexpected(answer, f"it starts with {start!a}")
    return RefusedError(problem, answer.status)


def _problem(answer: Answer) -> Problem | None:
    """Problem details, or whatever resembles them (older servers, frameworks)."""
    try:
        return msgspec.json.decode(answer.body, type=Problem)
    except msgspec.DecodeError:
        pass
    try:
        members = msgspec.json.decode(answer.body, type=dict[str, Any])
    except msgspec.DecodeError:
        return None
    said = next((members[k] for k in ("detail", "message", "error") if members.get(k)), None)
    if not isinstance(said, str):
        return None
    return Problem(
        type="about:blank",
        title=str(members.get("title", said)),
        status=answer.status,
        detail=said,
        success=False,
        error=said,
        message=said,
        code=answer.status,
        errors=_field_problems(members.get("errors")),
    )


def _field_problems(value: object) -> list[FieldProblem] | None:
    try:
        return msgspec.convert(value, list[FieldProblem])
    except msgspec.ValidationError:
        return None
