"""Routes as they are stored, and how their stored form becomes the model's."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import and_, delete, func, literal, or_, select, tuple_

from frontserver.errors import InputError
from frontserver.model.names import AgentId
from frontserver.model.routes import Route, RouteKey, RouteKind
from frontserver.storage.repository import Repository
from frontserver.storage.tables import RemovedRouteRow, RouteRow
from frontserver.wire.routes import HttpRouteRequest, MongoRouteRequest, http_route, mongo_route

RouteRequest = HttpRouteRequest | MongoRouteRequest


class StoredRoute(msgspec.Struct, frozen=True):
    """A route at the revision of its last change; `route` is `None` if that removed it."""

    route: Route | None
    revision: int


class RouteRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A stored route. `request` is the wire request as JSON, options as they were given."""

    key: RouteKey
    agent_id: AgentId
    request: str
    revision: int
    created_at: datetime
    updated_at: datetime


class RouteReader(msgspec.Struct, frozen=True, kw_only=True):
    """Turns stored requests into routes, under the domains of this installation."""

    app_domain: str
    mongo_domain: str
    tls_available: bool

    def route(self, kind: str, request: str) -> Route:
        """The route of a stored row. Raises `InputError` if today's rules don't allow it."""
        decoded = decode_request(RouteKind(kind), request)
        if isinstance(decoded, HttpRouteRequest):
            return http_route(
                decoded,
                app_domain=self.app_domain,
                tls_available=self.tls_available,
                # A name that is reserved today may have been given away before.
                reserved=frozenset(),
            )
        return mongo_route(decoded, mongo_domain=self.mongo_domain, default_host="")


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


class RouteRepository(Repository[RouteRow]):
    """Routes and the tombstones of removed ones, in one transaction."""

    model_type = RouteRow

    async def find(self, key: RouteKey) -> RouteRecord | None:
        """The route, if there is one."""
        row = await self.session.get(RouteRow, (key.kind.value, key.name))
        return None if row is None else _record(row)

    async def owner_of(self, key: RouteKey) -> AgentId | None:
        """Whose the route's label is, whatever paths below it there are; `None` if nobody's."""
        # "0" follows "/" in the order of names, so this is every path of the label.
        below = and_(RouteRow.name > f"{key.label}/", RouteRow.name < f"{key.label}0")
        query = (
            select(RouteRow.agent_id)
            .where(RouteRow.kind == key.kind.value, or_(RouteRow.name == key.label, below))
            .limit(1)
        )
        owner = (await self.session.execute(query)).scalar_one_or_none()
        return None if owner is None else AgentId(owner)

    async def count_of(self, agent_id: AgentId) -> int:
        """How many routes an agent has."""
        query = select(func.count()).select_from(RouteRow).where(RouteRow.agent_id == agent_id)
        return (await self.session.execute(query)).scalar_one()

    async def of_agent(self, agent_id: AgentId) -> list[RouteRecord]:
        """An agent's routes by kind and name."""
        query = (
            select(RouteRow)
            .where(RouteRow.agent_id == agent_id)
            .order_by(RouteRow.kind, RouteRow.name)
        )
        return [_record(row) for row in (await self.session.scalars(query)).all()]

    async def requests_of(self, agent_id: AgentId, kind: RouteKind) -> list[tuple[RouteKey, str]]:
        """An agent's requests of a kind, as they are stored, the newest first."""
        query = (
            select(RouteRow.name, RouteRow.request)
            .where(RouteRow.agent_id == agent_id, RouteRow.kind == kind.value)
            .order_by(RouteRow.revision.desc())
        )
        rows = (await self.session.execute(query)).tuples()
        return [(RouteKey(kind, name), request) for name, request in rows]

    async def page(self, after: RouteKey | None, limit: int) -> tuple[list[RouteRecord], int]:
        """Up to `limit` routes beyond `after`, by kind and name; and how many there are at all."""
        query = select(RouteRow).order_by(RouteRow.kind, RouteRow.name).limit(limit)
        if after is not None:
            query = query.where(
                tuple_(RouteRow.kind, RouteRow.name)
                > tuple_(literal(after.kind.value), literal(after.name))
            )
        total = await self.session.execute(select(func.count()).select_from(RouteRow))
        rows = (await self.session.scalars(query)).all()
        return [_record(row) for row in rows], total.scalar_one()

    async def put(self, record: RouteRecord) -> None:
        """Store a new route, or replace it; its revision must be recorded already."""
        row = msgspec.structs.asdict(record)
        key = row.pop("key")
        await self.upsert_rows([{"kind": key.kind.value, "name": key.name, **row}])
        await self.session.execute(
            delete(RemovedRouteRow).where(
                RemovedRouteRow.kind == record.key.kind.value,
                RemovedRouteRow.name == record.key.name,
            )
        )

    async def remove(self, keys: list[RouteKey], revision: int) -> None:
        """Remove routes at a revision; tombstones remain, for `RouteStore.changes_since`."""
        tombstones = []
        for key in keys:
            kind, name = key.kind.value, key.name
            await self.session.execute(
                delete(RouteRow).where(RouteRow.kind == kind, RouteRow.name == name)
            )
            tombstones.append({"kind": kind, "name": name, "revision": revision})
        await _TombstoneRepository(self.session).upsert_rows(tombstones)


class _TombstoneRepository(Repository[RemovedRouteRow]):
    model_type = RemovedRouteRow


def _record(row: RouteRow) -> RouteRecord:
    return RouteRecord(
        key=RouteKey(RouteKind(row.kind), row.name),
        agent_id=AgentId(row.agent_id),
        request=row.request,
        revision=row.revision,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
