"""What OpenAPI says beyond the types: examples, problems, headers, names of operations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import (
    Example,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    Reference,
    RequestBody,
    Schema,
)
from litestar.types import Method
from litestar.types.internal_types import PathParameterDefinition

from frontserver.api import problems as table
from frontserver.api.preferences import DEFAULT_WAIT, MOST_WAIT
from frontserver.errors import InputError
from frontserver.wire.problems import Problem

JSON = "application/json"
_LEGACY = "Legacy"
_WHEN = {
    400: "The body is not JSON, or names a member twice.",
    401: "No credentials, or wrong ones.",
    403: "The resource is another agent's.",
    404: "There is no such thing.",
    409: "The name or the id belongs to somebody else.",
    413: "The body is larger than this operation takes; the answer says how large it may be.",
    415: "The body is of another type than JSON.",
    422: "Well-formed, but a value is not allowed; `errors` names each field.",
    429: "Too many attempts; `Retry-After` says how long to wait.",
    503: "The state can't be read or stored now; nothing is changed.",
}
_SUCCESS_HEADERS = {
    "Location": "Where to poll for the route's status, with 202.",
    "Preference-Applied": "`wait=N`, the seconds that counted, where `Prefer` was sent.",
}
_PROBLEM_HEADERS = {
    401: {"WWW-Authenticate": "The schemes that are accepted."},
    429: {"Retry-After": "Seconds to wait before the next attempt."},
    503: {"Retry-After": "Seconds to wait before the next attempt."},
}


@dataclass
class DocumentedOperation(Operation):
    """An operation as Litestar infers it, completed from what `described` was told."""

    bodies: ClassVar[Mapping[str, Any]] = {}
    body_required: ClassVar[bool] = True
    legacy: ClassVar[str | None] = None
    waits: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.deprecated = (self.operation_id or "").endswith(_LEGACY)
        self.summary = (self.description or "").partition("\n")[0].rstrip(".")
        self._describe_body()
        self._describe_responses()
        if self.waits:
            self.parameters = [*(self.parameters or []), _PREFER]

    def _describe_body(self) -> None:
        if isinstance(self.request_body, RequestBody):
            self.request_body.required = self.body_required
            self.request_body.content[JSON].examples = {
                name: Example(summary=name, value=msgspec.to_builtins(value))
                for name, value in self.bodies.items()
            }

    def _describe_responses(self) -> None:
        described: dict[str, OpenAPIResponse | Reference] = {}
        for status, response in sorted((self.responses or {}).items()):
            if not isinstance(response, OpenAPIResponse) or not response.content:
                continue
            if _shows_problem(response):
                described[status] = Reference(ref=f"#/components/responses/{_name(int(status))}")
            # Litestar adds a 400 of its own shape for parameters; here those are a 422.
            elif status != "400":
                described[status] = response
            if self.waits and status in {"200", "201", "202"}:
                names = ["Preference-Applied", *(["Location"] if status == "202" else [])]
                response.headers = {name: _header(_SUCCESS_HEADERS[name]) for name in names}
        self.responses = described


_PREFER = Parameter(
    name="Prefer",
    param_in="header",
    required=False,
    schema=Schema(type=OpenAPIType.STRING, pattern=r"wait=\d+"),
    description=(
        f"`wait=N`: seconds to wait for the route to be active (RFC 7240); 0 to {MOST_WAIT}, "
        f"{DEFAULT_WAIT} without it."
    ),
)


def _header(text: str) -> OpenAPIHeader:
    return OpenAPIHeader(schema=Schema(type=OpenAPIType.STRING), description=text)


def _shows_problem(response: OpenAPIResponse) -> bool:
    """Whether this is a plain problem, which all operations share."""
    content = (response.content or {}).get(table.MEDIA_TYPE)
    return content is not None and isinstance(content.schema, Reference) and not content.examples


def _name(status: int) -> str:
    return "".join(word.capitalize() for word in _kind(status).slug.split("-"))


def _kind(status: int) -> table.Kind:
    kinds = [*table.BY_ERROR.values(), *table.BY_STATUS.values()]
    return next(kind for kind in kinds if kind.status == status)


def described(
    *,
    bodies: Mapping[str, Any] | None = None,
    body_required: bool = True,
    legacy: str | None = None,
    waits: bool = False,
) -> type[Operation]:
    """The `operation_class` of a handler.

    `bodies` are example requests by name, `legacy` is the handler's second, older path, and
    `waits` says that the handler obeys `Prefer: wait=N`.
    """
    members = {
        "bodies": bodies or {},
        "body_required": body_required,
        "legacy": legacy,
        "waits": waits,
    }
    return type("DescribedOperation", (DocumentedOperation,), members)


def answers(
    kind: type,
    statuses: Mapping[int, tuple[str, object]],
    *,
    problems: tuple[int, ...] = (),
    media_type: str = JSON,
) -> dict[int, ResponseSpec]:
    """The `responses` of a handler: successes with text and example, and problems by status."""
    successes = {
        status: ResponseSpec(
            kind,
            description=text,
            examples=[Example(summary=text, value=msgspec.to_builtins(example))],
            media_type=media_type,
            generate_examples=False,
        )
        for status, (text, example) in statuses.items()
    }
    shared = {
        status: ResponseSpec(Problem, media_type=table.MEDIA_TYPE, generate_examples=False)
        for status in problems
    }
    return successes | shared


def problem_responses() -> dict[str, OpenAPIResponse | Reference]:
    """The problems that operations refer to, for the document's components."""
    return {_name(status): _problem(status) for status in _WHEN}


def _problem(status: int) -> OpenAPIResponse:
    kind = _kind(status)
    example = Example(
        summary=kind.title, value=msgspec.to_builtins(_EXAMPLES.get(status) or _plain(kind))
    )
    headers = {name: _header(text) for name, text in _PROBLEM_HEADERS.get(status, {}).items()}
    content = OpenAPIMediaType(
        schema=Reference(ref="#/components/schemas/Problem"), examples={kind.slug: example}
    )
    return OpenAPIResponse(
        description=_WHEN[status],
        headers=dict(headers) or None,
        content={table.MEDIA_TYPE: content},
    )


_INSTANCE = "urn:uuid:6c1f5c5e-3b0e-4b06-9d43-0a6d1b9fb7a1"


def _plain(kind: table.Kind) -> Problem:
    detail = kind.detail or _WHEN[kind.status]
    problem = table.problem_of(Exception(detail), kind)
    return msgspec.structs.replace(problem, instance=_INSTANCE)


_EXAMPLES = {
    422: msgspec.structs.replace(
        table.problem_of(
            InputError("options.check.path", "a path starts with / and holds URL characters only"),
            table.INVALID,
        ),
        instance=_INSTANCE,
    )
}


def operation_id(
    handler: HTTPRouteHandler, _: Method, path: list[str | PathParameterDefinition]
) -> str:
    """The handler's name in camel case; `Legacy` is added for its older path."""
    first, *rest = handler.handler_name.split("_")
    name = first + "".join(word.capitalize() for word in rest)
    parts = [f"{{{part.name}}}" if not isinstance(part, str) else part for part in path]
    legacy = getattr(handler.operation_class, "legacy", None)
    return name + _LEGACY if legacy == "/" + "/".join(parts) else name
