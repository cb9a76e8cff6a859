"""Certificates of agents: issued once, renewed when due, signed from a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial
from weakref import WeakValueDictionary

from frontserver.errors import CertificateError, InputError, NotFoundError
from frontserver.model.names import AgentId
from frontserver.model.routes import RouteKey, RouteKind
from frontserver.pki.keys import KeyType
from frontserver.pki.leaf import Leaf, LeafSpec, renewal_due
from frontserver.pki.sealing import MasterKey
from frontserver.security.principals import SYSTEM
from frontserver.services.installation import TrustAnchor, leaf_context
from frontserver.services.views import mongod_port, rfc3339
from frontserver.storage.agents import AgentRecord, AgentRepository
from frontserver.storage.certificates import CertificateRecord, CertificateRepository
from frontserver.storage.engine import Database
from frontserver.storage.repository import utc_now
from frontserver.storage.revisions import Change, RevisionRepository
from frontserver.storage.routes import RouteRepository
from frontserver.storage.session import Session
from frontserver.wire.certificates import (
    CA_FILE,
    DEFAULT_CERT_DIR,
    MONGODB_PEM,
    AgentConfig,
    CertificateBundle,
    Domains,
    MongoConfig,
    MongoNet,
    MongoNetTls,
)

# Making RSA keys takes a core each; a burst of registrations must leave one for requests.
_ISSUING_AT_ONCE = 1


class CertificateService:
    """Hands out an agent's certificate and the configuration around it."""

    def __init__(
        self,
        database: Database,
        master_key: MasterKey,
        anchor: TrustAnchor,
        *,
        installation: str,
        app_domain: str,
        mongo_domain: str,
        key_type: KeyType = "rsa",
        days: int = 90,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._master_key = master_key
        self._anchor = anchor
        self._installation = installation
        self._app_domain = app_domain
        self._mongo_domain = mongo_domain
        self._key_type = key_type
        self._days = days
        self._clock = clock
        self._locks: WeakValueDictionary[AgentId, asyncio.Lock] = WeakValueDictionary()
        self._issuing = asyncio.Semaphore(_ISSUING_AT_ONCE)

    async def bundle(self, agent_id: AgentId) -> CertificateBundle:
        """The agent's certificate and key: the same ones until renewal is due.

        Raises `NotFoundError`, `StorageError`, or `CertificateError` if none can be issued.
        """
        lock = self._locks.setdefault(agent_id, asyncio.Lock())
        async with lock:
            agent, record = await self._database.read(partial(_with_newest, agent_id))
            if record is None or not self._usable(record):
                record = await self._issue(agent)
        key = None
        if record.sealed_key is not None:
            context = leaf_context(agent_id, record.serial)
            key = self._master_key.open(record.sealed_key, context=context).decode("ascii")
        return self._shown(record, key)

    async def config(self, agent_id: AgentId) -> AgentConfig:
        """What an agent needs to set itself up, before it has any route. Raises as `bundle`."""
        certificates = await self.bundle(agent_id)
        key = RouteKey(RouteKind.MONGODB, str(agent_id))
        route = await self._database.read(lambda session: RouteRepository(session).find(key))
        tls = MongoNetTls(
            certificate_key_file=f"{DEFAULT_CERT_DIR}/{MONGODB_PEM}",
            ca_file=f"{DEFAULT_CERT_DIR}/{CA_FILE}",
        )
        return AgentConfig(
            agent_id=str(agent_id),
            domains=Domains(app=self._app_domain, mongodb=self._domain(agent_id)),
            certificates=certificates,
            mongodb=MongoConfig(net=MongoNet(port=mongod_port(route), tls=tls)),
        )

    async def ca_pem(self) -> str:
        """The CA certificate that clients trust; a bundle while a rotation overlaps."""
        return self._anchor.bundle_pem

    async def sign(self, agent_id: AgentId, csr_pem: str) -> CertificateBundle:
        """A certificate for the key of a PKCS#10 request; `key` is null. Each call issues one.

        Raises `InputError` for a request that can't be signed, else as `bundle`.
        """
        agent = await self._database.read(partial(_agent, agent_id))
        now = self._clock()
        issuer = self._anchor.issuer
        try:
            async with self._issuing:
                leaf = await asyncio.to_thread(issuer.sign, csr_pem, self._spec(agent), now)
        except CertificateError as error:
            raise InputError("csr", error.message, hint=error.hint) from error
        record = self._record(agent_id, leaf, now)
        await self._store(record, replaces=lambda _: True)
        return self._shown(record, None)

    def _usable(self, record: CertificateRecord) -> bool:
        """Whether this certificate is still the one to hand out."""
        return (
            record.domain == self._domain(record.agent_id)
            and record.authority_id == self._anchor.id
            and not renewal_due(record.pem, self._clock())
        )

    async def _issue(self, agent: AgentRecord) -> CertificateRecord:
        now = self._clock()
        async with self._issuing:
            leaf = await asyncio.to_thread(self._anchor.issuer.issue, self._spec(agent), now=now)
        record = self._record(agent.agent_id, leaf, now)
        # Another process may have issued meanwhile: then its certificate counts.
        return await self._store(record, replaces=lambda newest: not self._usable(newest))

    async def _store(
        self, record: CertificateRecord, *, replaces: Callable[[CertificateRecord], bool]
    ) -> CertificateRecord:
        """Store a certificate if it `replaces` the newest one; answers the one that counts."""
        change = Change(
            actor=SYSTEM.name,
            action="certificate.issue",
            subject=str(record.agent_id),
            details={"serial": record.serial, "notAfter": rfc3339(record.not_after)},
        )

        def work(session: Session) -> CertificateRecord:
            # The agent may be gone by now, and its certificates revoked.
            _, newest = _with_newest(record.agent_id, session)
            if newest is not None and not replaces(newest):
                return newest
            RevisionRepository(session).record(change, record.created_at)
            CertificateRepository(session).put(record)
            return record

        return await self._database.write(work)

    def _spec(self, agent: AgentRecord) -> LeafSpec:
        return LeafSpec(
            installation=self._installation,
            agent_id=agent.agent_id,
            domain=self._domain(agent.agent_id),
            # An address that the agent only claims could be somebody else's.
            addresses=(agent.target_ip,) if agent.peer_verified else (),
            key_type=self._key_type,
            days=self._days,
        )

    def _domain(self, agent_id: AgentId) -> str:
        return f"{agent_id}.{self._mongo_domain}"

    def _record(self, agent_id: AgentId, leaf: Leaf, now: datetime) -> CertificateRecord:
        sealed = None
        if leaf.key_pem is not None:
            context = leaf_context(agent_id, leaf.serial)
            sealed = self._master_key.seal(leaf.key_pem.encode("ascii"), context=context)
        return CertificateRecord(
            serial=leaf.serial,
            agent_id=agent_id,
            authority_id=self._anchor.id,
            domain=self._domain(agent_id),
            pem=leaf.certificate_pem,
            sealed_key=sealed,
            not_before=leaf.not_before,
            not_after=leaf.not_after,
            fingerprint=leaf.fingerprint,
            created_at=now,
        )

    def _shown(self, record: CertificateRecord, key: str | None) -> CertificateBundle:
        ca = self._anchor.bundle_pem
        return CertificateBundle(
            ca=ca,
            cert=record.pem,
            key=key,
            ca_cert=ca,
            server_cert=record.pem,
            server_key=key,
            not_before=rfc3339(record.not_before),
            not_after=rfc3339(record.not_after),
            serial=record.serial,
            fingerprint=record.fingerprint,
        )


def _agent(agent_id: AgentId, session: Session) -> AgentRecord:
    agent = AgentRepository(session).find(agent_id)
    if agent is None:
        raise NotFoundError(f"there is no agent {agent_id}", hint="register it first")
    return agent


def _with_newest(
    agent_id: AgentId, session: Session
) -> tuple[AgentRecord, CertificateRecord | None]:
    return _agent(agent_id, session), CertificateRepository(session).newest(agent_id)
