"""OpenAPI schemas of wire structs.

Litestar's own plugin breaks on defaults that can't be hashed, lists `UNSET` as a type, and
doesn't say where unknown fields are refused.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any, get_args, get_type_hints

import msgspec
from litestar._openapi.schema_generation import SchemaCreator
from litestar.openapi.spec import Schema
from litestar.plugins import OpenAPISchemaPlugin
from litestar.types.empty import Empty
from litestar.typing import FieldDefinition


class WireSchemas(OpenAPISchemaPlugin):
    """Makes the schema of any `msgspec.Struct`, as it is on the wire."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        """Whether the field holds exactly one struct type; unions come apart before."""
        return not field_definition.is_union and field_definition.is_subclass_of(msgspec.Struct)

    def to_openapi_schema(
        self, field_definition: FieldDefinition, schema_creator: SchemaCreator
    ) -> Schema:
        """The component schema: names as encoded, defaults as JSON."""
        kind = field_definition.annotation
        hints = get_type_hints(kind)
        fields = msgspec.structs.fields(kind)
        schema = schema_creator.create_component_schema(
            field_definition,
            required=sorted(field.encode_name for field in fields if field.required),
            property_fields={
                field.encode_name: FieldDefinition.from_annotation(
                    annotation=_without_unset(hints[field.name]),
                    name=field.encode_name,
                    default=_default(field),
                )
                for field in fields
            },
        )
        if kind.__struct_config__.forbid_unknown_fields:
            schema.additional_properties = False
        return schema


def _without_unset(hint: Any) -> Any:  # noqa: ANN401 - an annotation may be anything
    """`bool | UnsetType` is a `bool` that may be left out."""
    kinds = [kind for kind in get_args(hint) if kind is not msgspec.UnsetType]
    return reduce(or_, kinds) if msgspec.UnsetType in get_args(hint) else hint


def _default(field: msgspec.structs.FieldInfo) -> object:
    """The default as JSON shows it, or Litestar's `Empty` where none is worth showing."""
    if field.default in (msgspec.NODEFAULT, msgspec.UNSET, None):
        return Empty
    return msgspec.to_builtins(field.default, enc_hook=str)
