"""The part of the API's OpenAPI document that the double implements, and bodies judged by it."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from harness.dataplane_double.errors import ApiError, unknown_here

Json = dict[str, Any]

_FILE = Path(__file__).with_name("openapi.json")
# Codes in the bodies of 422s.
_REQUIRED, _PATTERN, _ENUM, _MAXIMUM, _MINIMUM = 602, 605, 606, 608, 609
_PREFIX = "#/components/schemas/"
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


@cache
def openapi() -> Json:
    """The document, cut from that of Data Plane API 3.2."""
    found: Json = json.loads(_FILE.read_text())
    return found


def schema(name: str) -> Json:
    """A named schema, with what it is composed of in one."""
    return flat(openapi()["components"]["schemas"][name])


def flat(found: Json) -> Json:
    """A schema without `$ref` and `allOf` at its top: the properties of all of them."""
    while "$ref" in found:
        found = openapi()["components"]["schemas"][found["$ref"].removeprefix(_PREFIX)]
    if "allOf" not in found:
        return found
    parts = [flat(part) for part in found["allOf"]]
    return {
        "type": "object",
        "x-cut": [name for part in parts for name in part.get("x-cut", ())],
        "properties": {k: v for part in parts for k, v in part.get("properties", {}).items()},
        "required": [name for part in parts for name in part.get("required", ())],
    }


def accepted(value: Any, name: str) -> Any:
    """A body as the real one takes it: without what isn't in the schema `name`.

    Raises `ApiError`: 422 with what is wrong first, 400 for another type, 501 for what was cut from
    the document (`x-cut`).
    """
    return _accepted(value, schema(name), "data")


def in_path(value: str, pattern: str, name: str) -> str:
    """A value of the path. Raises `ApiError`."""
    if not re.search(pattern, value):
        raise ApiError(422, f"{name} in path should match '{pattern}'", code=_PATTERN)
    return value


def _accepted(value: Any, wanted: Json, name: str) -> Any:
    wanted = flat(wanted)
    kind = wanted.get("type")
    if kind and not isinstance(value, _TYPES[kind]):
        raise ApiError(400, f"parsing data body from failed, because {name} is no {kind}")
    if isinstance(value, dict):
        return _accepted_object(value, wanted)
    if isinstance(value, list):
        return [_accepted(item, wanted["items"], name) for item in value]
    if "pattern" in wanted and not re.search(wanted["pattern"], value):
        raise ApiError(422, f"{name} in body should match '{wanted['pattern']}'", code=_PATTERN)
    if "enum" in wanted and value not in wanted["enum"]:
        choice = " ".join(str(one) for one in wanted["enum"])
        raise ApiError(422, f"{name} in body should be one of [{choice}]", code=_ENUM)
    if value > wanted.get("maximum", value):
        words = f"{name} in body should be less than or equal to {wanted['maximum']}"
        raise ApiError(422, words, code=_MAXIMUM)
    if value < wanted.get("minimum", value):
        words = f"{name} in body should be greater than or equal to {wanted['minimum']}"
        raise ApiError(422, words, code=_MINIMUM)
    return value


def _accepted_object(value: Json, wanted: Json) -> Json:
    for name in wanted.get("required", ()):
        if value.get(name) in {None, ""}:
            raise ApiError(422, f"{name} in body is required", code=_REQUIRED)
    other = wanted.get("additionalProperties")
    known = wanted.get("properties", {})
    found = {}
    for name, item in value.items():
        if name in wanted.get("x-cut", ()):
            raise unknown_here(f"`{name}`")
        if name in known:
            found[name] = _accepted(item, known[name], name)
        elif isinstance(other, dict) and not known:
            found[name] = _accepted(item, other, name)
    return found
