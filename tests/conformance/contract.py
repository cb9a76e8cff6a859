"""Every request and every answer, held against the API's OpenAPI document."""

from __future__ import annotations

import json
from functools import cache
from typing import Any
from urllib.parse import unquote

import httpx
from jsonschema import Draft7Validator

from harness.dataplane_double import schemas

# A request that breaks the contract on purpose carries this; its answer is checked all the same.
BROKEN: dict[str, Any] = {"broken": True}

_PREFIX = "/v3"
# Where both programs answer otherwise than the document says: method, template, status.
DEVIATIONS = {
    # A panic is answered in text.
    ("put", "/services/haproxy/runtime/maps/{name}", 500),
    ("post", "/services/haproxy/storage/ssl_crt_lists", 500),
    # Errors of calls that answer with a file are JSON under the file's media type.
    ("get", "/services/haproxy/storage/maps/{name}", 404),
    ("get", "/services/haproxy/storage/general/{name}", 404),
    ("get", "/services/haproxy/storage/ssl_crt_lists/{name}", 404),
    # What is refused before the handler is asked is JSON, where the document has text.
    ("post", "/services/haproxy/configuration/raw", 401),
    ("post", "/services/haproxy/configuration/raw", 415),
    ("post", "/services/haproxy/configuration/raw", 422),
    # Figures, with an error among them, where the document has an error.
    ("get", "/services/haproxy/stats/native", 500),
}


def check_request(request: httpx.Request) -> None:
    """Raises `AssertionError` if a request isn't as the document has it."""
    if request.extensions.get("broken"):
        return
    method = request.method.lower()
    template, operation = _operation(request)
    parameters = [_resolved(parameter) for parameter in operation.get("parameters", ())]
    _check_path(template, request, parameters)
    known = {p["name"]: p for p in parameters if p["in"] == "query"}
    for name, value in request.url.params.items():
        assert name in known, f"{method} {template} knows no parameter `{name}`"
        _check(_typed(value, known[name]["schema"]), known[name]["schema"], f"`{name}`")
    for name, parameter in known.items():
        assert name in request.url.params or not parameter.get("required"), f"`{name}` is missing"
    _check_body(request, operation)


def check_answer(response: httpx.Response) -> None:
    """Raises `AssertionError` if an answer isn't as the document has it."""
    response.read()
    request = response.request
    where = f"{request.method} {request.url} -> {response.status_code}: {response.text[:300]}"
    try:
        template, operation = _operation(request)
    except AssertionError:
        if request.extensions.get("broken"):
            return
        raise
    if (request.method.lower(), template, response.status_code) in DEVIATIONS:
        return
    answers = operation["responses"]
    answer = _resolved(answers.get(str(response.status_code)) or answers.get("default"))
    assert answer is not None, f"the document doesn't know this answer: {where}"
    content = answer.get("content")
    if not content or not response.content:
        return
    media = response.headers["content-type"].partition(";")[0]
    assert media in content, f"not in {sorted(content)}: {where}"
    if media == "application/json":
        _check(response.json(), content[media]["schema"], where)


def _operation(request: httpx.Request) -> tuple[str, dict[str, Any]]:
    path = request.url.raw_path.decode().partition("?")[0]
    segments = path.removeprefix(_PREFIX).split("/")
    paths = schemas.openapi()["paths"]
    found = [template for template in paths if _fits(template.split("/"), segments)]
    assert found, f"the document doesn't know {path}"
    template = min(found, key=lambda known: known.count("{"))
    method = request.method.lower()
    assert method in paths[template], f"the document doesn't know {method} {template}"
    return template, paths[template][method]


def _fits(template: list[str], segments: list[str]) -> bool:
    return len(template) == len(segments) and all(
        word.startswith("{") or word == segment
        for word, segment in zip(template, segments, strict=True)
    )


def _check_path(template: str, request: httpx.Request, parameters: list[dict[str, Any]]) -> None:
    segments = request.url.raw_path.decode().partition("?")[0].removeprefix(_PREFIX).split("/")
    known = {p["name"]: p["schema"] for p in parameters if p["in"] == "path"}
    for word, segment in zip(template.split("/"), segments, strict=True):
        if word.startswith("{"):
            name = word.strip("{}")
            _check(_typed(unquote(segment), known[name]), known[name], f"`{name}`")


def _check_body(request: httpx.Request, operation: dict[str, Any]) -> None:
    body = operation.get("requestBody")
    request.read()
    if body is None:
        assert not request.content, f"{request.method} {request.url} takes no body"
        return
    media = request.headers.get("content-type", "").partition(";")[0]
    assert media in body["content"], f"{media!r} isn't in {sorted(body['content'])}"
    if media == "application/json":
        _check(json.loads(request.content), body["content"][media]["schema"], "the body")


def _typed(value: str, schema: dict[str, Any]) -> Any:
    if schema.get("type") == "integer" and value.isdigit():
        return int(value)
    if schema.get("type") == "boolean":
        return {"true": True, "false": False}.get(value, value)
    return value


def _resolved(found: Any) -> Any:
    while isinstance(found, dict) and "$ref" in found:
        target = schemas.openapi()
        for word in found["$ref"].removeprefix("#/").split("/"):
            target = target[word]
        found = target
    return found


def _check(value: Any, schema: dict[str, Any], what: str) -> None:
    errors = sorted(_validator(json.dumps(schema)).iter_errors(value), key=str)
    assert not errors, f"{what}: {errors[0].json_path}: {errors[0].message}"


@cache
def _validator(schema: str) -> Draft7Validator:
    return Draft7Validator(_plain(json.loads(schema)))


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of OpenAPI 3.0 as one of JSON Schema.

    Composed schemas become one: the document has `additionalProperties: false` beside `allOf`,
    which would forbid everything.
    """
    schema = schemas.flat(schema)
    plain = {name: value for name, value in schema.items() if name not in {"nullable", "format"}}
    if schema.get("nullable") and "type" in schema:
        plain["type"] = [schema["type"], "null"]
        if "enum" in schema:
            plain["enum"] = [*schema["enum"], None]
    if "properties" in schema:
        plain["properties"] = {name: _plain(value) for name, value in schema["properties"].items()}
        plain.setdefault("additionalProperties", False)
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            plain[name] = _plain(schema[name])
    return plain
