"""Routes: publish, remove, list. A change is durable before it is answered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from frontserver.errors import InputError, NotFoundError
from frontserver.model.names import AgentId, Subdomain
from frontserver.model.routes import RouteKey, RouteKind
from frontserver.model.status import RouteStatus
from frontserver.model.targets import TargetPolicy
from frontserver.security.principals import Principal
from frontserver.services.batches import Batches
from frontserver.services.candidates import Candidate, Candidates
from frontserver.services.ports import Publisher
from frontserver.services.storing import Limits, Stored, Storing, no_agent
from frontserver.services.views import connection_string, route_view, served_status
from frontserver.storage.agents import AgentRepository
from frontserver.storage.engine import Database
from frontserver.storage.repository import utc_now
from frontserver.storage.revisions import Change, RevisionRepository
from frontserver.storage.routes import (
    RouteReader,
    RouteRecord,
    RouteRepository,
    StoredRoute,
)
from frontserver.storage.session import Session
from frontserver.wire.routes.answers import RouteView
from frontserver.wire.routes.requests import HttpRouteRequest, MongoRouteRequest, RemoveRequest
from frontserver.wire.routes.translation import path_prefix

_LONGEST_PAGE = 1000


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A stored route: how it is shown, how far HAProxy is, and whether it is new."""

    view: RouteView
    status: RouteStatus
    created: bool
    # Only of a MongoDB route.
    connection_string: str | None = None


class RouteService:
    """What agents and operators can do with routes.

    `wait` is how many seconds an answer may wait for HAProxy. Everything raises `StorageError`
    when the state can't be read or stored.
    """

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        *,
        app_domain: str,
        mongo_domain: str,
        tls_available: bool,
        connection_port: int = 27017,
        policy: TargetPolicy | None = None,
        reserved: frozenset[str] = frozenset(),
        profiles: frozenset[str] = frozenset(),
        most_routes: int = 1000,
        most_profiles: int = 20,
        most_at_once: int = 10_000,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`reserved` are subdomains beside those that are always reserved.

        `most_profiles` is how many profiles beside the standard ones an agent's routes may have,
        `most_at_once` how many routes may be published together.
        `profiles` are those of the operator's that routes may ask for.
        """
        self._database = database
        self._publisher = publisher
        self._reader = RouteReader(
            app_domain=app_domain, mongo_domain=mongo_domain, tls_available=tls_available
        )
        self._connection_port = connection_port
        self._candidates = Candidates(
            self._reader, policy=policy or TargetPolicy(), reserved=reserved, profiles=profiles
        )
        self._limits = Limits(most_routes, most_profiles)
        self._clock = clock
        self.batches = Batches(
            database,
            publisher,
            self._candidates,
            self._reader,
            self._limits,
            connection_port=connection_port,
            most=most_at_once,
            clock=clock,
        )

    async def publish_http(
        self, request: HttpRouteRequest, principal: Principal, *, peer: str, wait: float
    ) -> Published:
        """Store an HTTP route, new or instead of the agent's own of that name and path.

        Raises `InputError`, `PermissionDeniedError`, `NotFoundError` for an unknown agent,
        `ConflictError` if the subdomain is another agent's or the agent has too many routes.
        """
        candidate = self._candidates.http(request, principal)
        return await self._publish(candidate, principal, peer, wait)

    async def publish_mongodb(
        self, request: MongoRouteRequest, principal: Principal, *, peer: str, wait: float
    ) -> Published:
        """Store the agent's MongoDB route; without a target host it is the agent's address.

        Raises as `publish_http` does.
        """
        agent_id = AgentId(request.agent_id)
        principal.require_agent(agent_id)
        agent = await self._database.read(lambda session: AgentRepository(session).find(agent_id))
        if agent is None:
            raise no_agent(agent_id)
        candidate = self._candidates.mongodb(request, principal, agent.target_ip)
        return await self._publish(candidate, principal, peer, wait)

    async def remove(
        self, request: RemoveRequest, principal: Principal, *, peer: str, wait: float
    ) -> RouteStatus:
        """Remove an agent's route; `active` then means that HAProxy doesn't know it any more.

        Raises `InputError`, `PermissionDeniedError`, or `NotFoundError` if the agent has no
        such route, whoever else may have one.
        """
        agent_id = AgentId(request.agent_id)
        principal.require_agent(agent_id)
        key = _key_to_remove(request, agent_id)
        change = Change(actor=principal.name, action="route.remove", subject=str(key), peer=peer)

        def work(session: Session) -> int:
            routes = RouteRepository(session)
            record = routes.find(key)
            if record is None or record.agent_id != agent_id:
                raise NotFoundError(f"agent {agent_id} has no route {key}")
            revision = RevisionRepository(session).record(change, self._clock())
            routes.remove([key], revision)
            return revision

        revision = await self._database.write(work)
        self._publisher.tell(key, StoredRoute(None, revision))
        return await self._publisher.settle(key, revision, wait)

    async def list_agent(self, agent_id: AgentId) -> list[RouteView]:
        """An agent's routes. Raises `NotFoundError` if there is no such agent."""

        def work(session: Session) -> list[RouteRecord]:
            records = RouteRepository(session).of_agent(agent_id)
            if not records and AgentRepository(session).find(agent_id) is None:
                raise no_agent(agent_id)
            return records

        return [self._view(record) for record in await self._database.read(work)]

    async def list_all(
        self, *, after: str | None, limit: int
    ) -> tuple[list[RouteView], int, str | None]:
        """A page of all routes, how many there are, and the next page's `after`."""
        if not 1 <= limit <= _LONGEST_PAGE:
            raise InputError("limit", f"{limit} is out of range: 1 to {_LONGEST_PAGE}")
        beyond = _cursor(after)
        # One more than asked for tells whether there is another page.
        records, total = await self._database.read(
            lambda session: RouteRepository(session).page(beyond, limit + 1)
        )
        page = records[:limit]
        following = str(page[-1].key) if len(records) > limit else None
        return [self._view(record) for record in page], total, following

    async def show(self, key: RouteKey) -> RouteView:
        """One route. Raises `NotFoundError`."""
        record = await self._database.read(lambda session: RouteRepository(session).find(key))
        if record is None:
            raise NotFoundError(f"there is no route {key}")
        return self._view(record)

    async def _publish(
        self, candidate: Candidate, principal: Principal, peer: str, wait: float
    ) -> Published:
        stored = await self._store(candidate, principal, peer)
        record = stored.record
        self._publisher.tell(record.key, StoredRoute(candidate.route, record.revision))
        status = await self._publisher.settle(record.key, record.revision, wait)
        view = route_view(self._reader, record, status)
        uri = None
        if record.key.kind is RouteKind.MONGODB:
            uri = connection_string(view.domain, self._connection_port)
        return Published(view=view, status=status, created=stored.created, connection_string=uri)

    async def _store(self, candidate: Candidate, principal: Principal, peer: str) -> Stored:
        def work(session: Session) -> Stored:
            storing = Storing(session, self._reader, self._limits)
            storing.admit(candidate)
            return storing.write(principal, peer, self._clock())[0]

        return await self._database.write(work)

    def _view(self, record: RouteRecord) -> RouteView:
        status = served_status(self._reader, record, self._publisher.status(record.key))
        return route_view(self._reader, record, status)


def _key_to_remove(request: RemoveRequest, agent_id: AgentId) -> RouteKey:
    match request.type:
        case RouteKind.MONGODB:
            return RouteKey(RouteKind.MONGODB, str(agent_id))
        case RouteKind.HTTP if request.subdomain is not None:
            # A name that is reserved today may have been given away before.
            subdomain = Subdomain(request.subdomain, reserved=frozenset())
            return RouteKey.http(subdomain, path_prefix(request.path))
        case RouteKind.HTTP:
            raise InputError("subdomain", "an HTTP route is named by its subdomain")
        case _:
            raise InputError("type", "the type of a route is http or mongodb")


def _cursor(after: str | None) -> RouteKey | None:
    if after is None:
        return None
    kind, separator, name = after.partition(":")
    if not separator or kind not in set(RouteKind):
        raise InputError("after", "this isn't the next of a page before")
    return RouteKey(RouteKind(kind), name)
