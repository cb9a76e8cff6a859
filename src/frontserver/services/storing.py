"""Candidates become stored routes, in one transaction: what stands against them there, and rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from frontserver.errors import ConflictError, InputError, NotFoundError
from frontserver.model.names import AgentId
from frontserver.model.routes import HttpRoute, RouteKey, RouteKind
from frontserver.planning.compile import HTTP_PROFILE, profile_of
from frontserver.planning.compiled import Profile
from frontserver.security.principals import Principal
from frontserver.services.admission import check_profiles, is_special
from frontserver.services.candidates import Candidate
from frontserver.storage.agents import AgentRepository
from frontserver.storage.revisions import Change, RevisionRepository
from frontserver.storage.routes import RouteReader, RouteRecord, RouteRepository
from frontserver.storage.session import Session

# Rows that are made and written at a time, so that many take little memory.
_AT_ONCE = 500

# Routes of an agent that are looked at before all of them are.
_FEW = 16

# And the route that is stored under that name, if there is one.
_Admitted = tuple[Candidate, RouteRecord | None]


class Limits(msgspec.Struct, frozen=True):
    """How many routes an agent may have, and how many profiles beside the standard ones."""

    routes: int
    profiles: int


class Stored(msgspec.Struct, frozen=True):
    """A route as it is stored now, whether it is new, and whether that changed anything."""

    record: RouteRecord
    created: bool
    changed: bool


class Storing:
    """Admits candidates one after the other, each as if those before were stored already.

    Nothing is written until `write`, so that of many all can be refused. For one transaction.
    """

    def __init__(self, session: Session, reader: RouteReader, limits: Limits) -> None:
        self._session = session
        self._reader = reader
        self._limits = limits
        self._routes = RouteRepository(session)
        self._admitted: list[_Admitted] = []
        self._owners: dict[tuple[RouteKind, str], AgentId] = {}
        self._holdings: dict[AgentId, _Holding] = {}

    def admit(self, candidate: Candidate) -> None:
        """Raise unless it may be stored.

        `ConflictError` if the name is another agent's or its agent has too many routes,
        `NotFoundError` if there is no such agent, `InputError` if it has too many profiles.
        """
        key, agent_id = candidate.key, candidate.agent_id
        before = self._routes.find(key)
        # A label has one owner, whatever its paths; its own routes say who.
        owner = before.agent_id if before else self._owner_of(key)
        if owner not in {None, agent_id}:
            raise ConflictError(
                f"{key.label} is taken by another agent", hint="choose another subdomain"
            )
        if before is None or before.request != candidate.request:
            holding = self._holding(agent_id)
            if before is None:
                holding.check_room()
            if candidate.profile is not None:
                holding.check_profile(key, candidate.profile)
            holding.add(key, candidate.profile, new=before is None)
            self._owners[key.kind, key.label] = agent_id
        self._admitted.append((candidate, before))

    def write(self, principal: Principal, peer: str, now: datetime) -> list[Stored]:
        """Store what was admitted, in its order. What is stored just so is left alone."""
        fresh = [
            (candidate, before)
            for candidate, before in self._admitted
            if before is None or before.request != candidate.request
        ]
        written: dict[RouteKey, RouteRecord] = {}
        for first in range(0, len(fresh), _AT_ONCE):
            records = self._write(fresh[first : first + _AT_ONCE], principal, peer, now)
            written |= {record.key: record for record in records}
        return [_stored(before, written.get(candidate.key)) for candidate, before in self._admitted]

    def _write(
        self, fresh: Sequence[_Admitted], principal: Principal, peer: str, now: datetime
    ) -> list[RouteRecord]:
        changes = [
            Change(
                actor=principal.name,
                action="route.update" if before else "route.create",
                subject=str(candidate.key),
                peer=peer,
                details=candidate.details,
            )
            for candidate, before in fresh
        ]
        revisions = RevisionRepository(self._session).record_all(changes, now)
        records = [
            RouteRecord(
                key=candidate.key,
                agent_id=candidate.agent_id,
                request=candidate.request,
                revision=revision,
                created_at=before.created_at if before else now,
                updated_at=now,
                created_revision=before.created_revision if before else revision,
            )
            for (candidate, before), revision in zip(fresh, revisions, strict=True)
        ]
        self._routes.put(*records)
        return records

    def _owner_of(self, key: RouteKey) -> AgentId | None:
        return self._owners.get((key.kind, key.label)) or self._routes.owner_of(key)

    def _holding(self, agent_id: AgentId) -> _Holding:
        holding = self._holdings.get(agent_id)
        if holding is None:
            holding = self._holdings[agent_id] = _Holding(
                self._session, self._reader, self._limits, agent_id
            )
        return holding


def _stored(before: RouteRecord | None, written: RouteRecord | None) -> Stored:
    if written is not None:
        return Stored(written, before is None, True)
    assert before is not None  # noqa: S101 - what isn't written was stored just so
    return Stored(before, False, False)


class _Holding:
    """What an agent has, stored and admitted; asked for as far as it is needed."""

    def __init__(
        self, session: Session, reader: RouteReader, limits: Limits, agent_id: AgentId
    ) -> None:
        self._session = session
        self._reader = reader
        self._limits = limits
        self._agent_id = agent_id
        self._count: int | None = None
        # Of the routes that were looked at or admitted, and how many have each special profile.
        self._profiles: dict[RouteKey, Profile | None] = {}
        self._in_use: Counter[Profile] = Counter()
        self._others = self._stored_profiles()

    def check_room(self) -> None:
        """Raise unless the agent is there and may have one route more."""
        if self._count is None:
            if AgentRepository(self._session).tokens_valid_after(self._agent_id) is None:
                raise no_agent(self._agent_id)
            self._count = RouteRepository(self._session).count_of(self._agent_id)
        if self._count >= self._limits.routes:
            raise ConflictError(
                f"agent {self._agent_id} has {self._limits.routes} routes, which is the limit",
                hint="remove a route that isn't needed any more",
            )

    def check_profile(self, key: RouteKey, profile: Profile) -> None:
        """Raise `InputError` if this route's profile would be one too many."""
        if not is_special(profile) or self._has(profile):
            return
        own = self._profiles.get(key)
        freed = own if own is not None and self._in_use[own] == 1 else None
        others = (other for other in self._in_use if other != freed)
        check_profiles(profile, others, self._limits.profiles)

    def add(self, key: RouteKey, profile: Profile | None, *, new: bool) -> None:
        """The agent will have this route."""
        if new and self._count is not None:
            self._count += 1
        self._note(key, profile)

    def _has(self, profile: Profile) -> bool:
        """Whether any route has it; no more of the stored ones are looked at than that takes."""
        while profile not in self._in_use:
            found = next(self._others, None)
            if found is None:
                return False
            key, other = found
            # What was admitted for this name counts instead.
            if key not in self._profiles:
                self._note(key, other)
        return True

    def _note(self, key: RouteKey, profile: Profile | None) -> None:
        special = profile if profile is not None and is_special(profile) else None
        before = self._profiles.get(key)
        self._profiles[key] = special
        if before is not None:
            self._in_use[before] -= 1
            if not self._in_use[before]:
                del self._in_use[before]
        if special is not None:
            self._in_use[special] += 1

    def _stored_profiles(self) -> Iterator[tuple[RouteKey, Profile]]:
        """Those of the agent's HTTP routes, some of them twice."""
        routes = RouteRepository(self._session)
        # Most agents use the same few again and again: a look at some of 1,000 routes will do.
        for limit in (_FEW, None):
            for key, request in routes.requests_of(self._agent_id, RouteKind.HTTP, limit=limit):
                yield key, self._profile(request)

    def _profile(self, request: str) -> Profile:
        """That of a stored HTTP route; of one that can't be served any more, an ordinary one."""
        try:
            route = self._reader.route(RouteKind.HTTP, request)
        except InputError:
            return HTTP_PROFILE
        return profile_of(route) if isinstance(route, HttpRoute) else HTTP_PROFILE


def no_agent(agent_id: AgentId) -> NotFoundError:
    """There is no such agent."""
    return NotFoundError(f"there is no agent {agent_id}", hint="register it first")
