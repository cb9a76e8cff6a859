"""Short ways to store agents and routes."""

from __future__ import annotations

from datetime import UTC, datetime

from frontserver.model.names import AgentId
from frontserver.model.routes import RouteKey, RouteKind
from frontserver.storage.agents import AgentRecord, AgentRepository
from frontserver.storage.engine import Database
from frontserver.storage.revisions import Change, RevisionRepository
from frontserver.storage.routes import RouteRecord, RouteRepository, encode_request
from frontserver.storage.session import Session
from frontserver.wire.routes.requests import HttpRouteRequest

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
CHANGE = Change(actor="operator", action="test", subject="test")


def agent(agent_id: str = "host-7") -> AgentRecord:
    return AgentRecord(
        agent_id=AgentId(agent_id),
        name=agent_id,
        target_ip="203.0.113.7",
        peer_verified=True,
        key_hash="hash",
        tokens_valid_after=1.5,
        created_at=NOW,
        updated_at=NOW,
    )


def key(name: str) -> RouteKey:
    return RouteKey(RouteKind.HTTP, name)


def route(
    name: str,
    revision: int,
    *,
    url: str = "http://203.0.113.7:3000",
    created_revision: int | None = None,
) -> RouteRecord:
    return RouteRecord(
        key=key(name),
        agent_id=AgentId("host-7"),
        request=encode_request(HttpRouteRequest("host-7", name, url)),
        revision=revision,
        created_at=NOW,
        updated_at=NOW,
        created_revision=created_revision or revision,
    )


async def add_agent(database: Database, agent_id: str = "host-7") -> None:
    await database.write(lambda session: AgentRepository(session).put(agent(agent_id)))


def publish(session: Session, name: str, **how: str) -> int:
    revision = RevisionRepository(session).record(CHANGE, NOW)
    RouteRepository(session).put(route(name, revision, **how))
    return revision


def remove(session: Session, *names: str) -> int:
    revision = RevisionRepository(session).record(CHANGE, NOW)
    RouteRepository(session).remove([key(name) for name in names], revision)
    return revision
