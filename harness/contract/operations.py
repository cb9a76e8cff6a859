"""Operations of the document: which of them a request is, its parameters, bodies and answers."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import msgspec

from harness.dataplane_double import schemas
from harness.errors import ContractError

Json = schemas.Json

_PREFIX = "/v3"
_NAME, _SEGMENT = re.compile(r"\{(\w+)\}"), r"(?P<\1>[^/]+)"


class Operation(msgspec.Struct, frozen=True):
    """A method on a path such as `/services/haproxy/runtime/maps/{name}`.

    `in_path`, `in_query` and `in_headers` are its parameters by name, headers in lower case.
    """

    method: str
    template: str
    in_path: dict[str, Json]
    in_query: dict[str, Json]
    in_headers: dict[str, Json]
    body: Json | None
    answers: dict[str, Json]

    def answer(self, status: int) -> Json | None:
        """What the document says of a status; its `default` is an error."""
        return self.answers.get(str(status)) or (self.answers["default"] if status >= 400 else None)


def find(method: str, path: str) -> tuple[Operation, dict[str, str]]:
    """The operation, and the segments that are parameters, as they are in the path.

    Raises `ContractError`.
    """
    for pattern, template in _templates():
        if (found := pattern.fullmatch(path)) is None:
            continue
        if method.lower() not in schemas.openapi()["paths"][template]:
            break
        return _operation(method, template), found.groupdict()
    raise ContractError("the document doesn't know this")


@cache
def _operation(method: str, template: str) -> Operation:
    found = schemas.openapi()["paths"][template][method.lower()]
    parameters = [_resolved(parameter) for parameter in found.get("parameters", ())]

    def those_in(place: str) -> dict[str, Json]:
        return {known["name"]: known for known in parameters if known["in"] == place}

    return Operation(
        method=method,
        template=template,
        in_path=those_in("path"),
        in_query=those_in("query"),
        in_headers={name.lower(): known for name, known in those_in("header").items()},
        body=found.get("requestBody"),
        answers={status: _resolved(answer) for status, answer in found["responses"].items()},
    )


@cache
def _templates() -> list[tuple[re.Pattern[str], str]]:
    """Paths that are fixed come before those of which they are an instance."""
    templates = sorted(schemas.openapi()["paths"], key=lambda template: template.count("{"))
    return [(re.compile(_PREFIX + _NAME.sub(_SEGMENT, known)), known) for known in templates]


def _resolved(found: Any) -> Any:
    while "$ref" in found:
        target = schemas.openapi()
        for word in found["$ref"].removeprefix("#/").split("/"):
            target = target[word]
        found = target
    return found
