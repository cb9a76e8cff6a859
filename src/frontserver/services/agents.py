"""Agents: registration, authentication, key rotation, invitation and removal."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Literal

import msgspec

from frontserver.errors import AuthenticationError, ConflictError, InputError, NotFoundError
from frontserver.model.names import AgentId
from frontserver.security import principals
from frontserver.security.invitations import mint_key
from frontserver.security.operators import OperatorCredential
from frontserver.security.principals import OPERATOR, Principal
from frontserver.security.tokens import Claims, IssuedToken, TokenIssuer
from frontserver.services.certificates import CertificateService
from frontserver.services.credentials import KeyCheck, wrong_credentials
from frontserver.services.ports import Publisher
from frontserver.services.profiles import Profile, profile
from frontserver.services.routes import RouteService
from frontserver.services.validity import TokenValidity
from frontserver.services.views import rfc3339
from frontserver.storage.agents import AgentRecord, AgentRepository, InvitationRepository
from frontserver.storage.certificates import CertificateRepository
from frontserver.storage.engine import Database
from frontserver.storage.repository import utc_now
from frontserver.storage.revisions import Change, RevisionRepository
from frontserver.storage.routes import RouteRepository
from frontserver.storage.session import Session
from frontserver.wire.agents import AgentView, AuthenticateRequest, RegisterRequest
from frontserver.wire.certificates import CertificateBundle

Enrolment = Literal["open", "invite", "closed"]

# How often to begin anew when somebody else changed the same agent meanwhile.
_ATTEMPTS = 3


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """What registering gives: the agent, a token, its certificates; `created` if it is new."""

    agent: AgentRecord
    token: str
    expires_at: datetime
    created: bool
    certificates: CertificateBundle


class AgentService:
    """What agents and operators can do with an agent's identity.

    Everything raises `StorageError` when the state can't be read or stored; whatever checks a
    key raises `TooManyRequestsError` after too many failures.
    """

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        routes: RouteService,
        certificates: CertificateService,
        *,
        keys: KeyCheck,
        tokens: TokenIssuer,
        operator: OperatorCredential,
        enrolment: Enrolment = "invite",
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._routes = routes
        self._certificates = certificates
        self._keys = keys
        self._tokens = tokens
        self._operator = operator
        self._enrolment = enrolment
        self._clock = clock
        self._validity = TokenValidity(database)

    async def register(self, request: RegisterRequest, *, peer: str) -> Registration:
        """Bind an id to its key, as the enrolment policy allows; or the same agent once more.

        Raises `InputError`; `AuthenticationError` for a wrong key or an agent that isn't
        invited; under `open` `ConflictError` for an id that has another key.
        """
        agent_id = AgentId(request.agent_id)
        wanted = profile(request, peer)
        record, created = await self._bound(agent_id, request.agent_key, wanted, peer)
        certificates = await self._certificates.bundle(agent_id)
        issued = self._tokens.issue(agent_id, record.tokens_valid_after)
        return Registration(
            agent=record,
            token=issued.token,
            expires_at=issued.expires_at,
            created=created,
            certificates=certificates,
        )

    async def authenticate(self, request: AuthenticateRequest, *, peer: str) -> IssuedToken:
        """A token for a key. Raises `InputError` for what is no id, or `AuthenticationError`."""
        agent_id = AgentId(request.agent_id)
        record = await self._prove(agent_id, request.agent_key, peer)
        return self._tokens.issue(agent_id, record.tokens_valid_after)

    async def principal_from_token(self, token: str) -> Principal:
        """Whose token this is. Raises `AuthenticationError` for any that doesn't count (now)."""
        if self._operator.accepts(token):
            return OPERATOR
        claims = self._tokens.read(token)
        valid_after = await self._validity.since(claims.agent_id)
        if valid_after is None or not _counts(claims, valid_after):
            raise AuthenticationError(
                "the token was revoked", hint="authenticate again with the agent's key"
            )
        return principals.agent(claims.agent_id)

    async def principal_from_basic(self, agent_id: str, key: str, *, peer: str) -> Principal:
        """The agent of an id and key. Raises `AuthenticationError`."""
        try:
            known_id = AgentId(agent_id)
        except InputError as error:
            raise wrong_credentials() from error
        await self._prove(known_id, key, peer)
        return principals.agent(known_id)

    async def show(self, agent_id: AgentId) -> AgentView:
        """The agent with its routes. Raises `NotFoundError`."""
        record = await self._database.read(partial(_known, agent_id))
        return AgentView(
            agent_id=str(agent_id),
            agent_name=record.name,
            target_ip=record.target_ip,
            created_at=rfc3339(record.created_at),
            updated_at=rfc3339(record.updated_at),
            routes=await self._routes.list_agent(agent_id),
        )

    async def remove(self, agent_id: AgentId, principal: Principal, *, peer: str) -> None:
        """Forget an agent, its routes and its tokens, and revoke its certificates.

        Raises `PermissionDeniedError` or `NotFoundError`.
        """
        principal.require_agent(agent_id)
        now = self._clock()

        def work(session: Session) -> None:
            _known(agent_id, session)
            routes = RouteRepository(session)
            keys = [record.key for record in routes.of_agent(agent_id)]
            change = Change(
                actor=principal.name,
                action="agent.remove",
                subject=str(agent_id),
                peer=peer,
                details={"routes": [str(key) for key in keys]},
            )
            revision = RevisionRepository(session).record(change, now)
            routes.remove(keys, revision)
            CertificateRepository(session).revoke_all(agent_id, now)
            AgentRepository(session).remove(agent_id)

        await self._database.write(work)
        self._publisher.wake()

    async def rotate_key(
        self, agent_id: AgentId, new_key: str, principal: Principal, *, peer: str
    ) -> None:
        """Give an agent another key; its tokens up to now are revoked.

        Raises `PermissionDeniedError`, `InputError` or `NotFoundError`.
        """
        principal.require_agent(agent_id)
        key_hash = await self._keys.hash(new_key)
        now = self._clock()
        change = Change(
            actor=principal.name, action="agent.rotate-key", subject=str(agent_id), peer=peer
        )

        def work(session: Session) -> None:
            record = _known(agent_id, session)
            RevisionRepository(session).record(change, now)
            AgentRepository(session).put(
                msgspec.structs.replace(
                    record,
                    key_hash=key_hash,
                    tokens_valid_after=_later(record.tokens_valid_after, now),
                    updated_at=now,
                )
            )

        await self._database.write(work)

    async def invite(self, agent_id: AgentId) -> str:
        """Mint a key for an agent that isn't registered yet; only its hash is stored.

        An older invitation ends. Raises `ConflictError` for an agent that is registered.
        """
        key = mint_key()
        key_hash = await self._keys.hash(key)
        now = self._clock()
        change = Change(actor=OPERATOR.name, action="agent.invite", subject=str(agent_id))

        def work(session: Session) -> None:
            if AgentRepository(session).find(agent_id) is not None:
                raise ConflictError(
                    f"agent {agent_id} is registered already",
                    hint="rotate its key, or remove it first",
                )
            RevisionRepository(session).record(change, now)
            InvitationRepository(session).put(agent_id, key_hash, now)

        await self._database.write(work)
        return key

    async def _prove(self, agent_id: AgentId, key: str, peer: str) -> AgentRecord:
        """The agent whose key it is. Raises `AuthenticationError`."""
        record = await self._database.read(lambda session: AgentRepository(session).find(agent_id))
        stored = record.key_hash if record else None
        matches = await self._keys.matches(agent_id, key, stored, peer)
        if record is None or not matches:
            raise wrong_credentials()
        return record

    async def _bound(
        self, agent_id: AgentId, key: str, wanted: Profile, peer: str
    ) -> tuple[AgentRecord, bool]:
        """The agent's record, and whether it is new. Hashing happens outside the transaction."""
        for _ in range(_ATTEMPTS):
            seen = await self._database.read(partial(_Seen.load, agent_id))
            key_hash = await self._admitted(agent_id, key, seen, peer)
            if seen.agent is not None and wanted.matches(seen.agent):
                return seen.agent, False
            record = await self._stored(agent_id, key_hash, wanted, seen, peer)
            if record is not None:
                return record, seen.agent is None
        raise ConflictError(f"agent {agent_id} is being changed by others", hint="try again")

    async def _admitted(self, agent_id: AgentId, key: str, seen: _Seen, peer: str) -> str:
        """The hash that binds the id, once the key is proven or the policy needs no proof."""
        if self._enrolment == "open" and seen.key_hash is None:
            return await self._keys.hash(key, stranger=peer)
        expected = seen.key_hash
        if self._enrolment == "closed" and seen.agent is None:
            expected = None
        if await self._keys.matches(agent_id, key, expected, peer) and expected is not None:
            return expected
        if self._enrolment == "open":
            raise ConflictError(
                f"agent {agent_id} is registered with another key",
                hint="use that key, or choose another agentId",
            )
        raise wrong_credentials()

    async def _stored(
        self, agent_id: AgentId, key_hash: str, wanted: Profile, seen: _Seen, peer: str
    ) -> AgentRecord | None:
        """Store the agent; `None` if it isn't any more what was `seen`."""
        now = self._clock()
        record = AgentRecord(
            agent_id=agent_id,
            name=wanted.name or (seen.agent.name if seen.agent else str(agent_id)),
            target_ip=wanted.target_ip,
            peer_verified=wanted.peer_verified,
            key_hash=key_hash,
            # A new agent of this id has nothing to do with tokens of one that was removed.
            tokens_valid_after=seen.agent.tokens_valid_after if seen.agent else now.timestamp(),
            created_at=seen.agent.created_at if seen.agent else now,
            updated_at=now,
        )
        change = Change(
            actor=principals.agent(agent_id).name,
            action="agent.update" if seen.agent else "agent.register",
            subject=str(agent_id),
            peer=peer,
            details={"name": record.name, "targetIp": record.target_ip},
        )

        def work(session: Session) -> AgentRecord | None:
            if _Seen.load(agent_id, session).key_hash != seen.key_hash:
                return None
            RevisionRepository(session).record(change, now)
            AgentRepository(session).put(record)
            InvitationRepository(session).remove(agent_id)
            return record

        return await self._database.write(work)


class _Seen(msgspec.Struct, frozen=True):
    """What is known of an agent before its key is checked."""

    agent: AgentRecord | None
    invitation: str | None

    @classmethod
    def load(cls, agent_id: AgentId, session: Session) -> _Seen:
        return cls(
            AgentRepository(session).find(agent_id),
            InvitationRepository(session).key_hash(agent_id),
        )

    @property
    def key_hash(self) -> str | None:
        """The hash that a key must match: the agent's, or else its invitation's."""
        return self.agent.key_hash if self.agent else self.invitation


def _counts(claims: Claims, valid_after: float) -> bool:
    """Whether no revocation has come since a token was issued."""
    if claims.era is None:
        return claims.issued_at.timestamp() >= valid_after
    return claims.era == valid_after


def _later(before: float, now: datetime) -> float:
    """When tokens of up to now are revoked: another time than before, whatever the clock did."""
    return max(now.timestamp(), math.nextafter(before, math.inf))


def _known(agent_id: AgentId, session: Session) -> AgentRecord:
    record = AgentRepository(session).find(agent_id)
    if record is None:
        raise NotFoundError(f"there is no agent {agent_id}", hint="register it first")
    return record
