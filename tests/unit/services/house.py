"""All services over one real database, with knobs for tests."""

from __future__ import annotations

from datetime import timedelta

from msgspec import UNSET, UnsetType

from frontserver.model.names import AgentId
from frontserver.model.targets import TargetPolicy
from frontserver.pki.authority import CertificateAuthority
from frontserver.pki.leaf import serial_hex
from frontserver.pki.sealing import MasterKey
from frontserver.security.keys import KeyHasher, VerifiedKeys
from frontserver.security.operators import OperatorCredential
from frontserver.security.principals import Principal, agent
from frontserver.security.throttle import Throttle
from frontserver.security.tokens import SigningKey, TokenIssuer
from frontserver.services.agents import AgentService, Enrolment
from frontserver.services.certificates import CertificateService
from frontserver.services.credentials import KeyCheck
from frontserver.services.installation import TrustAnchor
from frontserver.services.routes import RouteService
from frontserver.storage.certificates import AuthorityRecord, AuthorityRepository
from frontserver.storage.engine import Database
from frontserver.storage.feed import RouteStore
from frontserver.storage.revisions import AuditEntry, RevisionRepository
from frontserver.wire.agents import RegisterRequest
from frontserver.wire.routes.options import HttpOptions
from frontserver.wire.routes.requests import HttpRouteRequest
from tests.unit.services.fakes import START, FakeClock, FakePublisher

PEER = "203.0.113.7"
KEY = "correct horse battery staple"
ADMIN_TOKEN = "the operator's own token"
AGENT = AgentId("host-7")
OTHER = AgentId("host-8")
SELF = agent(AGENT)

HASHER = KeyHasher(time_cost=1, memory_kib=8)
# Life much longer than a leaf's, so that tests may move the clock by months.
AUTHORITY = CertificateAuthority.create("Example", key_type="ec", now=START)


class CountingHasher(KeyHasher):
    """Counts what it is asked to verify: the cost that must be equal for all."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_kib=8)
        self.verified = 0

    def verify(self, stored_hash: str, key: str) -> bool:
        self.verified += 1
        return super().verify(stored_hash, key)


class House:
    """The services of one installation."""

    def __init__(
        self,
        database: Database,
        *,
        enrolment: Enrolment = "open",
        most_routes: int = 1000,
        most_profiles: int = 20,
        most_at_once: int = 10_000,
        tls_available: bool = True,
        policy: TargetPolicy | None = None,
        authority: CertificateAuthority = AUTHORITY,
        clock: FakeClock | None = None,
    ) -> None:
        self.database = database
        self.clock = clock or FakeClock()
        self.publisher = FakePublisher()
        self.hasher = CountingHasher()
        self.anchor = TrustAnchor(authority, authority.certificate_pem)
        self.master_key = MasterKey(b"m" * 32)
        self.store = RouteStore(database, "apps.example.com", "mongodb.example.com", tls_available)
        self.routes = RouteService(
            database,
            self.publisher,
            app_domain="apps.example.com",
            mongo_domain="mongodb.example.com",
            tls_available=tls_available,
            connection_port=27018,
            policy=policy,
            reserved=frozenset({"intern"}),
            profiles=frozenset({"gold", "internal"}),
            most_routes=most_routes,
            most_profiles=most_profiles,
            most_at_once=most_at_once,
            clock=self.clock,
        )
        self.certificates = CertificateService(
            database,
            self.master_key,
            self.anchor,
            installation="Example",
            app_domain="apps.example.com",
            mongo_domain="mongodb.example.com",
            key_type="ec",
            clock=self.clock,
        )
        self.tokens = TokenIssuer(
            [SigningKey("one", b"s" * 32, START)],
            issuer="example",
            audience="example",
            ttl=timedelta(days=400),
            clock=self.clock,
        )
        self.agents = AgentService(
            database,
            self.publisher,
            self.routes,
            self.certificates,
            keys=KeyCheck(
                self.hasher,
                Throttle(clock=self.clock.seconds),
                VerifiedKeys(clock=self.clock.seconds),
            ),
            tokens=self.tokens,
            operator=OperatorCredential(ADMIN_TOKEN),
            enrolment=enrolment,
            clock=self.clock,
        )

    async def prepare(self) -> None:
        """Store what the services expect of an installation: its authority."""
        certificate = self.anchor.issuer.certificate
        record = AuthorityRecord(
            id=serial_hex(certificate),
            pem=self.anchor.bundle_pem,
            sealed_key=b"",
            active=True,
            created_at=START,
        )
        await self.database.write(lambda session: AuthorityRepository(session).put(record))

    async def join(self, agent_id: str = AGENT, *, key: str = KEY, peer: str = PEER) -> Principal:
        await self.agents.register(RegisterRequest(agent_id, key), peer=peer)
        return agent(AgentId(agent_id))

    async def publish(
        self,
        subdomain: str,
        principal: Principal = SELF,
        *,
        url: str | None = "http://203.0.113.7:3000",
        options: HttpOptions | None = None,
        path: str | UnsetType = UNSET,
    ) -> bool:
        """Whether the route was new."""
        request = HttpRouteRequest(str(principal.agent_id), subdomain, url, options, path)
        done = await self.routes.publish_http(request, principal, peer=PEER, wait=1)
        return done.created

    async def audit(self) -> list[AuditEntry]:
        return await self.database.read(
            lambda session: RevisionRepository(session).since(0, limit=10_000)
        )

    async def actions(self) -> list[str]:
        return [entry.change.action for entry in await self.audit()]
