"""One request and one answer, held against the document: everything that is in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, unquote

import msgspec

from harness.contract import deviations, shapes
from harness.contract.operations import Json, Operation, find
from harness.errors import ContractError

if TYPE_CHECKING:
    # The double starts without it.
    import httpx

_JSON, _FORM = "application/json", "multipart/form-data"
_PART = re.compile(
    rb'^Content-Disposition: form-data; name="([^"]*)"', re.MULTILINE | re.IGNORECASE
)
_SHOWN = 300


class Request(msgspec.Struct, frozen=True):
    """`target` is path and query as they were sent; names of `headers` are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def of(cls, request: httpx.Request) -> Self:
        """One of httpx's."""
        target = request.url.raw_path.decode()
        return cls(request.method, target, dict(request.headers), request.read())

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def media_type(self) -> str:
        return _media_type(self.headers)


class Answer(msgspec.Struct, frozen=True):
    """Names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def of(cls, response: httpx.Response) -> Self:
        """One of httpx's."""
        return cls(response.status_code, dict(response.headers), response.read())

    @property
    def media_type(self) -> str:
        return _media_type(self.headers)


def check_request(request: Request) -> None:
    """Raises `ContractError` if a request isn't as the document has it."""
    operation, in_path = find(request.method, request.path)
    for name, segment in in_path.items():
        _check_parameter(unquote(segment), operation.in_path[name])
    _check_query(request, operation)
    _check_headers(request, operation)
    _check_body(request, operation)


def check_answer(request: Request, answer: Answer) -> None:
    """Raises `ContractError` if an answer isn't as the document has it."""
    operation, _ = find(request.method, request.path)
    if (operation.method, operation.template, answer.status) in deviations.ANSWERS:
        return
    try:
        _check_answer(operation, answer)
    except ContractError as error:
        shown = answer.body[:_SHOWN].decode(errors="replace")
        raise ContractError(f"answer {answer.status}: {error}: {shown}") from error


def _check_query(request: Request, operation: Operation) -> None:
    query = request.target.partition("?")[2]
    given = parse_qsl(query, keep_blank_values=True)
    for name, value in given:
        if name not in operation.in_query:
            raise ContractError(f"no parameter `{name}` is known")
        _check_parameter(value, operation.in_query[name])
    _require({name for name, _ in given}, operation.in_query)


def _check_headers(request: Request, operation: Operation) -> None:
    """The API's own headers; of all others the document says nothing."""
    for name, value in request.headers.items():
        if not name.startswith("x-"):
            continue
        if name not in operation.in_headers:
            raise ContractError(f"no header `{name}` is known")
        _check_parameter(value, operation.in_headers[name])
    _require(request.headers.keys(), operation.in_headers)


def _require(given: Iterable[str], known: Mapping[str, Json]) -> None:
    required = {name for name, parameter in known.items() if parameter.get("required")}
    missing = required.difference(given)
    if missing:
        raise ContractError(f"`{min(missing)}` is missing")


def _check_parameter(value: str, parameter: Json) -> None:
    schema = parameter["schema"]
    try:
        shapes.judge(_typed(value, schema.get("type")), schema)
    except msgspec.ValidationError as error:
        raise ContractError(f"`{parameter['name']}`: {error}") from error


def _typed(text: str, kind: str | None) -> Any:
    if kind == "integer" and text.removeprefix("-").isdecimal():
        return int(text)
    if kind == "boolean":
        return {"true": True, "false": False}.get(text, text)
    return text


def _check_body(request: Request, operation: Operation) -> None:
    if operation.body is None:
        if request.body:
            raise ContractError("a body, where none is taken")
        return
    _check_content(request.media_type, request.body, operation.body["content"])


def _check_answer(operation: Operation, answer: Answer) -> None:
    known = operation.answer(answer.status)
    if known is None:
        raise ContractError("the document doesn't know this status")
    content = known.get("content", {})
    if answer.body and not content:
        raise ContractError("a body, where none is answered")
    # Files and texts may be empty.
    if answer.body or _JSON in content:
        _check_content(answer.media_type, answer.body, content)


def _check_content(media_type: str, body: bytes, content: Mapping[str, Json]) -> None:
    if media_type not in content:
        raise ContractError(f"the media type is {media_type!r} and not in {sorted(content)}")
    schema = content[media_type]["schema"]
    if media_type == _FORM:
        _check_form(body, schema)
    elif media_type == _JSON:
        try:
            shapes.judge_json(body, schema)
        except msgspec.DecodeError as error:
            raise ContractError(f"the body: {error}") from error


def _check_form(body: bytes, schema: Json) -> None:
    """The fields' names: what is in files is nobody's business here."""
    names = {name.decode(errors="replace") for name in _PART.findall(body)}
    strange = names - schema["properties"].keys()
    if strange:
        raise ContractError(f"no field `{min(strange)}` is known")
    missing = set(schema.get("required", ())) - names
    if missing:
        raise ContractError(f"the field `{min(missing)}` is missing")


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()
