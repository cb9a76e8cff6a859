"""Request bodies: strict JSON into wire structs, with refusals that name the field.

The framework's own decoding would coerce (`"1"` into 1) and say little about what was wrong.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

import msgspec
from litestar._openapi.schema_generation import SchemaCreator
from litestar.dto import AbstractDTO
from litestar.dto._backend import DTOBackend
from litestar.exceptions import ClientException, HTTPException
from litestar.openapi.spec import Reference, Schema
from litestar.typing import FieldDefinition
from msgspec import inspect

from frontserver.errors import InputError
from frontserver.model.names import shown

MAX_BODY_BYTES = 256 * 1024
_JSON_TYPE = re.compile(r"(?:application|text)/(?:[a-z0-9.+-]+\+)?json", re.IGNORECASE)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class StrictJson(AbstractDTO[Any]):
    """Litestar's hook for bodies: decodes into the struct that the handler's `data` names."""

    def decode_bytes(self, value: bytes) -> object:
        """The decoded body. Raises `InputError`, or an HTTP error of status 400 or 415."""
        check_media_type(self.asgi_connection.headers.get("content-type"))
        field = self.asgi_connection.route_handler.parsed_data_field
        return decode(value, field.annotation if field else Any)

    @classmethod
    def create_for_field_definition(
        cls,
        field_definition: FieldDefinition,
        handler_id: str,
        backend_cls: type[DTOBackend] | None = None,
    ) -> None:
        """Nothing to prepare: wire structs are decoded as they are."""

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: SchemaCreator
    ) -> Reference | Schema:
        """The wire struct's own schema. (`handler_id` is part of the framework's signature.)"""
        del handler_id
        kinds = [kind for kind in field_definition.inner_types if not kind.is_none_type]
        body = kinds[0] if field_definition.is_optional else field_definition
        return schema_creator.for_field_definition(body)


def decode(body: bytes, kind: object) -> object:
    """Decode JSON into `kind`, strictly.

    Raises `InputError` with the field's path where the document is JSON but not of this shape,
    and `ClientException` (400) where it isn't JSON (RFC 8259) or names a member twice.
    """
    try:
        json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant)
        return decode_part(body, kind)
    except RecursionError as error:
        raise ClientException("the body is nested too deeply") from error
    except UnicodeError as error:
        raise ClientException("the body is not UTF-8") from error
    except ValueError as error:
        raise ClientException(f"the body is not JSON: {error}") from error


def decode_part(part: bytes | msgspec.Raw, kind: object) -> object:
    """Likewise of a part of a document that `decode` took: it is known to be JSON."""
    try:
        return _decoder(kind).decode(part)
    except msgspec.ValidationError as error:
        raise _refusal(str(error), kind) from error


@functools.cache
def _decoder(kind: object) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def check_media_type(content_type: str | None) -> None:
    """Raise an HTTP error of status 415 for a body of another type than JSON."""
    # Older agents send none with DELETE; a body without a type is taken as JSON.
    media_type = (content_type or "").partition(";")[0].strip()
    if media_type and not _JSON_TYPE.fullmatch(media_type):
        raise HTTPException(
            f"{shown(media_type)} isn't accepted here: send application/json", status_code=415
        )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names are unique; parsers disagree about any other (RFC 8259 section 4)."""
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the member {shown(twice)} is named twice")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _refusal(text: str, kind: object) -> InputError:
    """What msgspec says, as a refusal: `Expected … - at `$.options.check`` and its like."""
    sentence, separator, where = text.rpartition(" - at ")
    if not separator:
        sentence, where = text, "$"
    path = where.strip("`").removeprefix("$").removeprefix(".")
    if match := _MISSING.fullmatch(sentence):
        return InputError(_joined(path, match[1]), "this field is required")
    types = list(_types_at(kind, path))
    if match := _UNKNOWN.fullmatch(sentence):
        return InputError(
            _joined(path, match[1]), f"there is no such field; allowed: {_allowed_names(types)}"
        )
    if sentence.startswith("Invalid enum value"):
        return InputError(path, f"not one of the allowed values: {_allowed_values(types)}")
    message = sentence.replace("`", "")
    return InputError(path, message[:1].lower() + message[1:])


def _joined(path: str, name: str) -> str:
    plain = name if _PLAIN_NAME.fullmatch(name) else shown(name)
    return f"{path}.{plain}" if path else plain


def _types_at(kind: object, path: str) -> Iterator[inspect.Type]:
    """The types that may stand at a path such as `options.targets[0]`."""
    found: Iterable[inspect.Type] = [inspect.type_info(kind)]
    for step in re.findall(r"\[|[^.\[\]]+", re.sub(r"\[.*?\]", "[", path)):
        found = [child for parent in _members(found) for child in _children(parent, step)]
    return _members(found)


def _members(types: Iterable[inspect.Type]) -> Iterator[inspect.Type]:
    for item in types:
        if isinstance(item, inspect.UnionType):
            yield from item.types
        else:
            yield item


def _children(parent: inspect.Type, step: str) -> Iterator[inspect.Type]:
    if isinstance(parent, inspect.StructType):
        yield from (field.type for field in parent.fields if field.encode_name == step)
    elif isinstance(parent, inspect.ListType):
        yield parent.item_type


def _allowed_names(types: list[inspect.Type]) -> str:
    structs = [item for item in types if isinstance(item, inspect.StructType)]
    return ", ".join(sorted(field.encode_name for item in structs for field in item.fields))


def _allowed_values(types: list[inspect.Type]) -> str:
    enums = [item.cls for item in types if isinstance(item, inspect.EnumType)]
    return ", ".join(str(member.value) for enum in enums for member in enum)
