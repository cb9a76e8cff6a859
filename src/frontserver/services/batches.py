"""Many routes at once: judged together, stored in one transaction, waited for once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from frontserver.errors import (
    BatchError,
    FrontServerError,
    InputError,
    NotFoundError,
    PermissionDeniedError,
    StorageError,
)
from frontserver.model.names import AgentId
from frontserver.model.routes import RouteKey, RouteKind
from frontserver.model.status import RouteStatus
from frontserver.security.principals import Principal
from frontserver.services.candidates import Candidate, Candidates
from frontserver.services.ports import Publisher
from frontserver.services.storing import Limits, Stored, Storing, no_agent
from frontserver.services.views import connection_string
from frontserver.storage.agents import AgentRepository
from frontserver.storage.engine import Database
from frontserver.storage.routes import RouteReader, RouteRequest, StoredRoute
from frontserver.storage.session import Session
from frontserver.wire.routes.requests import HttpRouteRequest, MongoRouteRequest

# So many are judged before others have a turn: some milliseconds.
_AT_ONCE = 25

# A request as it was decoded, or what was wrong with it.
Entry = RouteRequest | InputError


class BatchItem(msgspec.Struct, frozen=True, kw_only=True):
    """One route of a batch: as it is stored, and how far HAProxy is."""

    stored: Stored
    domain: str
    status: RouteStatus
    # Only of a MongoDB route.
    connection_string: str | None = None


class Batches:
    """Stores many routes, or none: as if each was published alone, in their order.

    Everything raises `StorageError` when the state can't be read or stored.
    """

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        candidates: Candidates,
        reader: RouteReader,
        limits: Limits,
        *,
        connection_port: int,
        most: int,
        clock: Callable[[], datetime],
    ) -> None:
        """`most` is how many routes a batch may have."""
        self._connection_port = connection_port
        self._most = most
        self._database = database
        self._publisher = publisher
        self._candidates = candidates
        self._reader = reader
        self._limits = limits
        self._clock = clock

    async def publish(
        self, entries: Sequence[Entry], principal: Principal, *, peer: str, wait: float
    ) -> list[BatchItem]:
        """Store these routes, each new or instead of its agent's own of that name and path.

        Waits up to `wait` seconds until HAProxy runs all of them. Raises `InputError` if there are
        none or too many, and `BatchError` with all entries that are refused: those that are wrong
        by themselves or, if there are none, those that what is stored stands against.
        """
        if not 1 <= len(entries) <= self._most:
            raise InputError(
                "routes",
                f"{len(entries)} routes are too {'many' if entries else 'few'}: "
                f"1 to {self._most} at once",
            )
        candidates = await self._judged(entries, principal)

        def work(session: Session) -> list[Stored]:
            storing = Storing(session, self._reader, self._limits)
            refusals = _Refusals(len(candidates))
            for index, candidate in enumerate(candidates):
                try:
                    storing.admit(candidate)
                except FrontServerError as error:
                    refusals.add(index, error)
            refusals.raise_any()
            return storing.write(principal, peer, self._clock())

        stored = await self._database.write(work)
        # Without a pause between them, so that the reconciler hears of all at once.
        for candidate, one in zip(candidates, stored, strict=True):
            self._publisher.tell(candidate.key, StoredRoute(candidate.route, one.record.revision))
        statuses = await self._settled(stored, wait)
        return [
            self._item(candidate, one, status)
            for candidate, one, status in zip(candidates, stored, statuses, strict=True)
        ]

    def _item(self, candidate: Candidate, stored: Stored, status: RouteStatus) -> BatchItem:
        domain, uri = str(candidate.route.domain), None
        if candidate.key.kind is RouteKind.MONGODB:
            uri = connection_string(domain, self._connection_port)
        return BatchItem(stored=stored, domain=domain, status=status, connection_string=uri)

    async def _judged(self, entries: Sequence[Entry], principal: Principal) -> list[Candidate]:
        addresses = await self._addresses(entries)
        refusals = _Refusals(len(entries))
        candidates: dict[RouteKey, tuple[int, Candidate]] = {}
        for index, entry in enumerate(entries):
            if index % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            try:
                candidate = self._candidate(entry, principal, addresses)
                if candidate.key in candidates:
                    first, _ = candidates[candidate.key]
                    raise InputError("", f"this is the same route as routes[{first}]")
            except FrontServerError as error:
                refusals.add(index, error)
            else:
                candidates[candidate.key] = index, candidate
        refusals.raise_any()
        return [candidate for _, candidate in candidates.values()]

    def _candidate(
        self, entry: Entry, principal: Principal, addresses: Mapping[str, str]
    ) -> Candidate:
        if isinstance(entry, InputError):
            raise entry
        if isinstance(entry, HttpRouteRequest):
            return self._candidates.http(entry, principal)
        agent_id = AgentId(entry.agent_id)
        principal.require_agent(agent_id)
        if agent_id not in addresses:
            raise no_agent(agent_id)
        return self._candidates.mongodb(entry, principal, addresses[agent_id])

    async def _addresses(self, entries: Sequence[Entry]) -> Mapping[str, str]:
        """By agent, where those of the MongoDB routes can be reached."""
        agents: set[AgentId] = set()
        for entry in entries:
            if isinstance(entry, MongoRouteRequest):
                with contextlib.suppress(InputError):
                    agents.add(AgentId(entry.agent_id))
        if not agents:
            return {}

        def look(session: Session) -> dict[str, str]:
            known = map(AgentRepository(session).find, agents)
            return {record.agent_id: record.target_ip for record in known if record}

        return await self._database.read(look)

    async def _settled(self, stored: Sequence[Stored], wait: float) -> list[RouteStatus]:
        """What became of each; all of them have `wait` seconds together."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + wait
        return [
            await self._publisher.settle(
                one.record.key, one.record.revision, max(0.0, deadline - clock())
            )
            for one in stored
        ]


class _Refusals:
    """What is wrong with which of so many routes."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._found: dict[str, FrontServerError] = {}

    def add(self, index: int, error: FrontServerError) -> None:
        """A `StorageError` is nobody's fault: it is raised instead."""
        path = f"routes[{index}]"
        match error:
            case StorageError():
                raise error
            case InputError():
                error = error.under(path)
                self._found[error.field] = error
            case PermissionDeniedError() | NotFoundError():
                self._found[f"{path}.agentId"] = error
            case _:
                self._found[path] = error

    def raise_any(self) -> None:
        """Raise `BatchError` if there is any."""
        if self._found:
            raise BatchError(self._found, self._total)
