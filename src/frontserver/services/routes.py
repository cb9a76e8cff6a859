"""Routes: publish, remove, list. A change is durable before it is answered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec
from msgspec import UNSET

from frontserver.errors import ConflictError, InputError, NotFoundError
from frontserver.model.names import RESERVED_SUBDOMAINS, AgentId, Subdomain
from frontserver.model.routes import HttpRoute, RouteKey, RouteKind
from frontserver.model.status import RouteStatus
from frontserver.model.targets import TargetPolicy
from frontserver.planning.compile import HTTP_PROFILE, profile_of
from frontserver.planning.compiled import Profile
from frontserver.security.principals import Principal
from frontserver.services.admission import (
    check_http_targets,
    check_profile,
    check_profiles,
    check_target,
    is_special,
    normalised_ca,
)
from frontserver.services.ports import Publisher
from frontserver.services.views import connection_string, details, route_view, served_status
from frontserver.storage.agents import AgentRepository
from frontserver.storage.engine import Database
from frontserver.storage.repository import utc_now
from frontserver.storage.revisions import Change, RevisionRepository
from frontserver.storage.routes import (
    RouteReader,
    RouteRecord,
    RouteRepository,
    RouteRequest,
    StoredRoute,
    encode_request,
)
from frontserver.storage.session import Session
from frontserver.wire.routes.answers import RouteView
from frontserver.wire.routes.requests import HttpRouteRequest, MongoRouteRequest, RemoveRequest
from frontserver.wire.routes.translation import mongo_route, path_prefix

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
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`reserved` are subdomains beside those that are always reserved.

        `most_profiles` is how many profiles beside the standard ones an agent's routes may have.
        `profiles` are those of the operator's that routes may ask for.
        """
        self._database = database
        self._publisher = publisher
        self._reader = RouteReader(
            app_domain=app_domain, mongo_domain=mongo_domain, tls_available=tls_available
        )
        self._connection_port = connection_port
        self._policy = policy or TargetPolicy()
        self._reserved = RESERVED_SUBDOMAINS | reserved
        self._profiles = profiles
        self._most_routes = most_routes
        self._most_profiles = most_profiles
        self._clock = clock

    async def publish_http(
        self, request: HttpRouteRequest, principal: Principal, *, peer: str, wait: float
    ) -> Published:
        """Store an HTTP route, new or instead of the agent's own of that name and path.

        Raises `InputError`, `PermissionDeniedError`, `NotFoundError` for an unknown agent,
        `ConflictError` if the subdomain is another agent's or the agent has too many routes.
        """
        agent_id = AgentId(request.agent_id)
        principal.require_agent(agent_id)
        request = normalised_ca(request)
        route = self._http_route(request)
        check_http_targets(request, self._policy)
        check_profile(route.profile, self._profiles)
        request = msgspec.structs.replace(
            request,
            agent_id=str(agent_id),
            subdomain=str(route.subdomain),
            path=UNSET if route.path.is_root else str(route.path),
        )
        record, created = await self._store(
            route.key, agent_id, request, principal, peer, profile=profile_of(route)
        )
        return await self._published(record, created, wait)

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
            raise _no_agent(agent_id)
        route = mongo_route(
            request, mongo_domain=self._reader.mongo_domain, default_host=agent.target_ip
        )
        check_target("targetHost", route.target, self._policy)
        request = msgspec.structs.replace(
            request, agent_id=str(agent_id), target_host=str(route.target.host)
        )
        record, created = await self._store(route.key, agent_id, request, principal, peer)
        return await self._published(record, created, wait)

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
                raise _no_agent(agent_id)
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

    def _http_route(self, request: HttpRouteRequest) -> HttpRoute:
        Subdomain(request.subdomain, reserved=self._reserved)
        route = self._reader.route(RouteKind.HTTP, encode_request(request))
        assert isinstance(route, HttpRoute)  # noqa: S101 - of such a request
        return route

    async def _store(
        self,
        key: RouteKey,
        agent_id: AgentId,
        request: RouteRequest,
        principal: Principal,
        peer: str,
        *,
        profile: Profile | None = None,
    ) -> tuple[RouteRecord, bool]:
        """The stored route and whether it is new. One that is stored just so is left alone."""
        text = encode_request(request)

        def work(session: Session) -> tuple[RouteRecord, bool]:
            routes = RouteRepository(session)
            before = routes.find(key)
            # A label has one owner, whatever its paths; its own routes say who.
            owner = before.agent_id if before else routes.owner_of(key)
            if owner not in {None, agent_id}:
                raise ConflictError(
                    f"{key.label} is taken by another agent", hint="choose another subdomain"
                )
            if before is None:
                self._check_room(session, agent_id)
            elif before.request == text:
                return before, False
            if profile is not None and is_special(profile):
                self._check_profile(routes, agent_id, key, profile)
            now = self._clock()
            record = RouteRecord(
                key=key,
                agent_id=agent_id,
                request=text,
                revision=0,
                created_at=before.created_at if before else now,
                updated_at=now,
            )
            change = Change(
                actor=principal.name,
                action="route.update" if before else "route.create",
                subject=str(key),
                peer=peer,
                details=details(record),
            )
            revision = RevisionRepository(session).record(change, now)
            record = msgspec.structs.replace(record, revision=revision)
            routes.put(record)
            return record, before is None

        return await self._database.write(work)

    def _check_room(self, session: Session, agent_id: AgentId) -> None:
        """Raise unless the agent is there and may have one route more."""
        if AgentRepository(session).tokens_valid_after(agent_id) is None:
            raise _no_agent(agent_id)
        if RouteRepository(session).count_of(agent_id) >= self._most_routes:
            raise ConflictError(
                f"agent {agent_id} has {self._most_routes} routes, which is the limit",
                hint="remove a route that isn't needed any more",
            )

    def _check_profile(
        self, routes: RouteRepository, agent_id: AgentId, key: RouteKey, profile: Profile
    ) -> None:
        stored = routes.requests_of(agent_id, RouteKind.HTTP)
        if any(self._profile(request) == profile for name, request in stored if name == key):
            return
        others = (self._profile(request) for name, request in stored if name != key)
        check_profiles(profile, others, self._most_profiles)

    def _profile(self, request: str) -> Profile:
        """That of a stored HTTP route; of one that can't be served any more, an ordinary one."""
        try:
            route = self._reader.route(RouteKind.HTTP, request)
        except InputError:
            return HTTP_PROFILE
        return profile_of(route) if isinstance(route, HttpRoute) else HTTP_PROFILE

    async def _published(self, record: RouteRecord, created: bool, wait: float) -> Published:
        route = self._reader.route(record.key.kind, record.request)
        self._publisher.tell(record.key, StoredRoute(route, record.revision))
        status = await self._publisher.settle(record.key, record.revision, wait)
        view = route_view(self._reader, record, status)
        uri = None
        if record.key.kind is RouteKind.MONGODB:
            uri = connection_string(view.domain, self._connection_port)
        return Published(view=view, status=status, created=created, connection_string=uri)

    def _view(self, record: RouteRecord) -> RouteView:
        status = served_status(self._reader, record, self._publisher.status(record.key))
        return route_view(self._reader, record, status)


def _no_agent(agent_id: AgentId) -> NotFoundError:
    return NotFoundError(f"there is no agent {agent_id}", hint="register it first")


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
