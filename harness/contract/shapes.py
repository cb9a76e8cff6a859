"""Schemas of the document as types of msgspec's, which judges large answers in milliseconds.

`readOnly` isn't heeded: the document has it on fields that requests must have.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Annotated, Any, Literal

import msgspec

from harness.contract import deviations
from harness.dataplane_double import schemas

_SCALARS = {"string": str, "integer": int, "boolean": bool}
_LIMITS = {"minimum": "ge", "maximum": "le", "pattern": "pattern"}
# `format` is told apart from a plain string by nobody.
_PASSED_OVER = frozenset({"format", "readOnly", "default", "x-cut"})
_JUDGED = frozenset(
    ("type", "nullable", "enum", "items", "properties", "required", "additionalProperties")
).union(_LIMITS)


def judge_json(content: bytes, schema: schemas.Json) -> None:
    """Raises `msgspec.DecodeError` if JSON isn't as the schema has it, unknown fields included."""
    _decoder(json.dumps(schema)).decode(content)


def judge(value: object, schema: schemas.Json) -> None:
    """Raises `msgspec.ValidationError` if a value isn't as the schema has it."""
    msgspec.convert(value, _shape(json.dumps(schema)))


@cache
def _decoder(schema: str) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(_shape(schema))


@cache
def _shape(schema: str) -> Any:
    return _made(json.loads(schema))


def _made(schema: schemas.Json) -> Any:
    """Raises `NotImplementedError` for what isn't translated."""
    flat = schemas.flat(schema)
    strange = flat.keys() - _JUDGED - _PASSED_OVER
    if strange:
        raise NotImplementedError(f"{sorted(strange)} in a schema")
    made = _bare(flat, schema.get("$ref", "").rpartition("/")[2])
    return made | None if flat.get("nullable") else made


def _bare(flat: schemas.Json, of: str) -> Any:
    kind = flat.get("type", "object")
    if "enum" in flat:
        return Literal[tuple(flat["enum"])]
    if kind == "array":
        return list[_made(flat["items"])]  # type: ignore[misc]
    if kind == "object":
        return _object(flat, of)
    limits = {name: flat[word] for word, name in _LIMITS.items() if word in flat}
    return Annotated[_SCALARS[kind], msgspec.Meta(**limits)]


def _object(flat: schemas.Json, of: str) -> Any:
    """A struct of the named fields; beside them others are taken only where the document says so.

    What such others hold isn't looked at.
    """
    other = flat.get("additionalProperties", False)
    properties = {
        name: {"type": known["type"]} if (of, name) in deviations.VALUES else known
        for name, known in flat.get("properties", {}).items()
    }
    if not properties:
        return dict[str, _made(other) if isinstance(other, dict) else Any]  # type: ignore[misc]
    # Names of the document aren't always Python's.
    names = {f"field_{number}": name for number, name in enumerate(properties)}
    fields = [
        (field, _made(properties[name]))
        if name in flat.get("required", ())
        else (field, _made(properties[name]), msgspec.UNSET)
        for field, name in names.items()
    ]
    return msgspec.defstruct(
        of or "Object", fields, rename=names, forbid_unknown_fields=other is False, kw_only=True
    )
