"""Many routes at once: POST /api/proxy/routes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, cast

import msgspec
from litestar import Controller, Response, post
from litestar._openapi.schema_generation import SchemaCreator
from litestar.datastructures import CacheControlHeader
from litestar.openapi.spec import Reference, Schema
from litestar.params import JSONBody
from litestar.typing import FieldDefinition
from msgspec import UNSET

from frontserver.api.decoding import (
    MAX_BODY_BYTES,
    StrictJson,
    check_media_type,
    decode,
    decode_part,
)
from frontserver.api.dependencies import RouteCall
from frontserver.api.documentation import answers, described
from frontserver.api.examples import batches as examples
from frontserver.errors import InputError
from frontserver.model.routes import RouteKind
from frontserver.model.status import RouteState
from frontserver.services.batches import BatchItem, Entry
from frontserver.wire.batches import BatchAnswer, BatchCounts, BatchRequest, RouteOutcome
from frontserver.wire.routes.requests import HttpRouteRequest, MongoRouteRequest

# Of a body, for each route that it may have.
_BYTES_EACH = 1024


class _Entries(msgspec.Struct, frozen=True):
    """A batch whose entries aren't read yet, so that each is refused by itself."""

    routes: list[msgspec.Raw]


class _Kind(msgspec.Struct, frozen=True):
    type: str = RouteKind.HTTP.value


_REQUESTS = {
    RouteKind.HTTP.value: HttpRouteRequest,
    RouteKind.MONGODB.value: MongoRouteRequest,
}


class Body(msgspec.Struct, frozen=True):
    """A body as it came: reading one of 10,000 routes takes too long for the event loop."""

    text: bytes


class BatchJson(StrictJson):
    """Leaves the decoding to the handler, and shows the body as a `BatchRequest`."""

    def decode_bytes(self, value: bytes) -> Body:
        """Raises an HTTP error of status 415 for another type than JSON."""
        check_media_type(self.asgi_connection.headers.get("content-type"))
        return Body(value)

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: SchemaCreator
    ) -> Reference | Schema:
        """That of `BatchRequest`. (The other parameters are part of the framework's signature.)"""
        del field_definition, handler_id
        body = FieldDefinition.from_annotation(BatchRequest)
        return schema_creator.for_field_definition(body)


def decode_entries(body: bytes) -> list[Entry]:
    """The routes of a batch, or what is wrong with each, with its field.

    Raises `InputError` where the body isn't a batch, and `ClientException` where it isn't JSON.
    """
    batch: Any = decode(body, _Entries)
    return [_entry(raw) for raw in batch.routes]


def _entry(raw: msgspec.Raw) -> Entry:
    try:
        kind: Any = decode_part(raw, _Kind)
        request = _REQUESTS.get(kind.type)
        if request is None:
            raise InputError("type", "the type of a route is http or mongodb")
        entry: Any = decode_part(raw, request)
    except InputError as error:
        return error
    return cast("Entry", entry)


class BatchController(Controller):
    """All routes of a batch are stored, or none."""

    tags = ("Routes",)
    cache_control = CacheControlHeader(no_store=True)

    @post(
        "/api/proxy/routes",
        status_code=200,
        dto=BatchJson,
        responses=answers(
            BatchAnswer,
            {
                200: ("All are stored; `routes` says what became of each.", examples.BATCH),
                202: ("All are stored; HAProxy doesn't run some yet.", examples.BATCH_PENDING),
            },
            problems=(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
        ),
        operation_class=described(bodies=examples.PUBLISH_BATCH, waits=True),
    )
    async def publish_routes(self, data: JSONBody[Body], call: RouteCall) -> Response[BatchAnswer]:
        """Publish many routes at once, or none if any of them is refused.

        Each is new, or replaces the one that its agent has under that name and path. Where routes
        are refused, `errors` names all of them, as `routes[7].options.check.path`, and the status
        is that of the gravest reason: 403, 404, 409, 422. What is wrong with a route itself comes
        before what is stored (names of others, limits). The same request again changes nothing and
        tells how far HAProxy is.
        """
        entries = await asyncio.to_thread(decode_entries, data.text)
        done = await call.routes.batches.publish(
            entries, call.principal, peer=call.peer, wait=call.wait.seconds
        )
        body = _answer(done)
        if not body.counts.pending:
            return Response(body, status_code=200, headers=call.wait.headers)
        headers = call.wait.headers | {"Location": _location(done)}
        return Response(body, status_code=202, headers=headers)


def _answer(done: Sequence[BatchItem]) -> BatchAnswer:
    states = Counter(item.status.state for item in done)
    counts = BatchCounts(**{state.value: states[state] for state in RouteState})
    changes = Counter(_change(item) for item in done)
    said = ", ".join(f"{number} {change}" for change, number in sorted(changes.items()))
    return BatchAnswer(
        message=f"{said}; {counts.active} active, {counts.pending} pending, {counts.failed} failed",
        counts=counts,
        routes=[_outcome(item) for item in done],
    )


def _outcome(item: BatchItem) -> RouteOutcome:
    key, status = item.stored.record.key, item.status
    return RouteOutcome(
        type=key.kind.value,
        agent_id=str(item.stored.record.agent_id),
        domain=item.domain,
        subdomain=key.label if key.kind is RouteKind.HTTP else UNSET,
        path=UNSET if key.path == "/" else key.path,
        connection_string=item.connection_string or UNSET,
        change=_change(item),
        status=status.state.value,
        reason=status.reason or UNSET,
        reload=status.reload or UNSET,
    )


def _change(item: BatchItem) -> Literal["created", "updated", "unchanged"]:
    if item.stored.created:
        return "created"
    return "updated" if item.stored.changed else "unchanged"


def _location(done: Sequence[BatchItem]) -> str:
    """A list that has all of them."""
    agents = {item.stored.record.agent_id for item in done}
    return f"/api/proxy/agents/{agents.pop()}" if len(agents) == 1 else "/api/proxy/routes"


def batch_controller(most: int) -> type[BatchController]:
    """The controller of batches; `most` is how many routes one may have."""
    limit = max(MAX_BODY_BYTES, most * _BYTES_EACH)
    return type("BatchController", (BatchController,), {"request_max_body_size": limit})
