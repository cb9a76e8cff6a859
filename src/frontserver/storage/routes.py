"""Routes as they are stored, and how their stored form becomes the model's."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

import msgspec
from sqlalchemy import and_, bindparam, delete, func, or_, select, tuple_

from frontserver.errors import InputError
from frontserver.model.names import AgentId
from frontserver.model.routes import Route, RouteKey, RouteKind
from frontserver.storage.repository import Repository, table_of, upsert
from frontserver.storage.statements import Row, Statement
from frontserver.storage.tables import RemovedRouteRow, RouteRow
from frontserver.wire.routes.requests import HttpRouteRequest, MongoRouteRequest
from frontserver.wire.routes.translation import http_route, mongo_route

RouteRequest = HttpRouteRequest | MongoRouteRequest


class StoredRoute(msgspec.Struct, frozen=True):
    """A route at the revision of its last change; `route` is `None` if that removed it.

    `created` is the revision with which its owner took the name; 0 where nobody asks for it.
    """

    route: Route | None
    revision: int
    created: int = 0


class RouteRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A stored route. `request` is the wire request as JSON, options as they were given.

    `created_revision` is the one with which its owner took the name.
    """

    key: RouteKey
    agent_id: AgentId
    request: str
    revision: int
    created_at: datetime
    updated_at: datetime
    created_revision: int


class RouteReader(msgspec.Struct, frozen=True, kw_only=True):
    """Turns stored requests into routes, under the domains of this installation."""

    app_domain: str
    mongo_domain: str
    tls_available: bool

    def route(self, kind: str, request: str) -> Route:
        """The route of a stored row. Raises `InputError` if today's rules don't allow it.

        Those of the last few requests are remembered: a route is read back right after it is
        stored.
        """
        return _route(kind, request, self.app_domain, self.mongo_domain, self.tls_available)


@lru_cache(maxsize=4096)
def _route(
    kind: str, request: str, app_domain: str, mongo_domain: str, tls_available: bool
) -> Route:
    decoded = decode_request(RouteKind(kind), request)
    if isinstance(decoded, HttpRouteRequest):
        return http_route(
            decoded,
            app_domain=app_domain,
            tls_available=tls_available,
            # A name that is reserved today may have been given away before.
            reserved=frozenset(),
        )
    return mongo_route(decoded, mongo_domain=mongo_domain, default_host="")


_DECODERS: dict[
    RouteKind,
    msgspec.json.Decoder[HttpRouteRequest] | msgspec.json.Decoder[MongoRouteRequest],
] = {
    RouteKind.HTTP: msgspec.json.Decoder(HttpRouteRequest),
    RouteKind.MONGODB: msgspec.json.Decoder(MongoRouteRequest),
}


def encode_request(request: RouteRequest) -> str:
    """The stored form of a request; equal requests have equal forms."""
    return msgspec.json.encode(request, enc_hook=str, order="deterministic").decode()


def decode_request(kind: RouteKind, text: str) -> RouteRequest:
    """The request that was stored. Raises `InputError` if it doesn't decode any more."""
    try:
        return _DECODERS[kind].decode(text)
    except msgspec.MsgspecError as error:
        raise InputError("", f"the stored route doesn't decode: {error}") from error


_routes = table_of(RouteRow)
_removed = table_of(RemovedRouteRow)
_this_route = and_(_routes.c.kind == bindparam("kind"), _routes.c.name == bindparam("name"))
_this_tombstone = and_(_removed.c.kind == bindparam("kind"), _removed.c.name == bindparam("name"))
_of_this_agent = _routes.c.agent_id == bindparam("agent_id")
_ordered = select(_routes).order_by(_routes.c.kind, _routes.c.name)

_FIND = Statement(select(_routes).where(_this_route))
_PUT = upsert(RouteRow)
_REMOVE = Statement(delete(_routes).where(_this_route))
_BURY = upsert(RemovedRouteRow)
_UNBURY = Statement(delete(_removed).where(_this_tombstone))
_COUNT = Statement(select(func.count()).select_from(_routes).where(_of_this_agent))
_OF_AGENT = Statement(_ordered.where(_of_this_agent))
_OWNER = Statement(
    select(_routes.c.agent_id)
    .where(
        _routes.c.kind == bindparam("kind"),
        or_(
            _routes.c.name == bindparam("label"),
            and_(_routes.c.name > bindparam("first"), _routes.c.name < bindparam("beyond")),
        ),
    )
    .limit(1)
)
_requests = select(_routes.c.name, _routes.c.request).where(
    _of_this_agent, _routes.c.kind == bindparam("kind")
)
_REQUESTS = Statement(_requests)
_SOME_REQUESTS = Statement(_requests.limit(bindparam("limit")))
_FIRST = _ordered.limit(bindparam("limit"))
_FOLLOWING = _FIRST.where(
    tuple_(_routes.c.kind, _routes.c.name) > tuple_(bindparam("kind"), bindparam("name"))
)
_TOTAL = select(func.count()).select_from(_routes)


class RouteRepository(Repository[RouteRow]):
    """Routes and the tombstones of removed ones, in one transaction."""

    model_type = RouteRow

    def find(self, key: RouteKey) -> RouteRecord | None:
        """The route, if there is one."""
        return next(map(_record, self.session.rows(_FIND, **_key_values(key))), None)

    def owner_of(self, key: RouteKey) -> AgentId | None:
        """Whose the route's label is, whatever paths below it there are; `None` if nobody's."""
        # "0" follows "/" in the order of names, so this is every path of the label.
        values = {"label": key.label, "first": f"{key.label}/", "beyond": f"{key.label}0"}
        rows = self.session.rows(_OWNER, kind=key.kind.value, **values)
        return AgentId(rows[0][0]) if rows else None

    def count_of(self, agent_id: AgentId) -> int:
        """How many routes an agent has."""
        ((count,),) = self.session.rows(_COUNT, agent_id=agent_id)
        return int(count)

    def of_agent(self, agent_id: AgentId) -> list[RouteRecord]:
        """An agent's routes by kind and name."""
        return [_record(row) for row in self.session.rows(_OF_AGENT, agent_id=agent_id)]

    def requests_of(
        self, agent_id: AgentId, kind: RouteKind, *, limit: int | None = None
    ) -> list[tuple[RouteKey, str]]:
        """An agent's requests of a kind, as they are stored: all, or any `limit` of them."""
        values = {"agent_id": agent_id, "kind": kind.value}
        if limit is None:
            rows = self.session.rows(_REQUESTS, **values)
        else:
            rows = self.session.rows(_SOME_REQUESTS, **values, limit=limit)
        return [(RouteKey(kind, name), request) for name, request in rows]

    def page(self, after: RouteKey | None, limit: int) -> tuple[list[RouteRecord], int]:
        """Up to `limit` routes beyond `after`, by kind and name; and how many there are at all."""
        total = self.session.run(_TOTAL).scalar_one()
        if after is None:
            rows = self.session.run(_FIRST, {"limit": limit})
        else:
            rows = self.session.run(_FOLLOWING, {"limit": limit, **_key_values(after)})
        return [_record(row) for row in rows], total

    def put(self, *records: RouteRecord) -> None:
        """Store routes, new or in place of others; their revisions must be recorded already."""
        rows = []
        for record in records:
            row = msgspec.structs.asdict(record)
            rows.append({**_key_values(row.pop("key")), **row})
        self.session.change(_PUT, *rows)
        self.session.change(_UNBURY, *(_key_values(record.key) for record in records))

    def remove(self, keys: list[RouteKey], revision: int) -> None:
        """Remove routes at a revision; tombstones remain, for `RouteStore.changes_since`."""
        rows = [_key_values(key) for key in keys]
        self.session.change(_REMOVE, *rows)
        self.session.change(_BURY, *({**row, "revision": revision} for row in rows))


def _key_values(key: RouteKey) -> dict[str, str]:
    return {"kind": key.kind.value, "name": key.name}


def _record(row: Row) -> RouteRecord:
    kind, name, agent_id, request, revision, created_at, updated_at, created_revision = row
    return RouteRecord(
        key=RouteKey(RouteKind(kind), name),
        agent_id=AgentId(agent_id),
        request=request,
        revision=revision,
        created_at=created_at,
        updated_at=updated_at,
        created_revision=created_revision,
    )
