"""The API over the real services and SQLite, with a publisher that only pretends."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from frontserver.api.application import create_api
from frontserver.model.names import AgentId
from frontserver.pki.sealing import MasterKey
from frontserver.security.keys import KeyHasher, VerifiedKeys
from frontserver.security.operators import OperatorCredential
from frontserver.security.throttle import Throttle
from frontserver.security.tokens import TokenIssuer
from frontserver.services.agents import AgentService, Enrolment
from frontserver.services.certificates import CertificateService
from frontserver.services.credentials import KeyCheck
from frontserver.services.installation import load_authority, load_signing_keys
from frontserver.services.routes import RouteService
from frontserver.storage.engine import Database, open_database
from frontserver.storage.repository import utc_now
from frontserver.storage.revisions import RevisionRepository
from tests.unit.api.fakes import OPERATOR_TOKEN, Calls, FakePublisher

TTL = timedelta(hours=1)


class RealWorld(Calls):
    """Services as the product composes them, with cheap hashes and EC keys."""

    def __init__(
        self,
        database: Database,
        agents: AgentService,
        routes: RouteService,
        certificates: CertificateService,
        publisher: FakePublisher,
        most_at_once: int,
    ) -> None:
        self.database = database
        self.agents = agents
        self.publisher = publisher
        self.api = create_api(
            agents=agents,
            routes=routes,
            certificates=certificates,
            publisher=publisher,
            storage_check=self._check_storage,
            version="1.2.3",
            most_at_once=most_at_once,
        )

    async def _check_storage(self) -> None:
        await self.revision()

    async def revision(self) -> int:
        """The number of the last change that is stored."""
        return await self.database.read(lambda session: RevisionRepository(session).latest())

    async def enrol(self, agent_id: str) -> str:
        """Invite and register an agent; returns its token."""
        key = await self.agents.invite(AgentId(agent_id))
        answer = await self.call(
            "POST",
            "/api/agents/register",
            token=None,
            json={"agentId": agent_id, "agentKey": key},
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])


@asynccontextmanager
async def real_world(
    directory: Path,
    *,
    enrolment: Enrolment = "invite",
    burst: int = 10,
    most_at_once: int = 10_000,
) -> AsyncIterator[RealWorld]:
    """`burst` is how many wrong keys a peer may try before it must wait."""
    database = open_database(f"sqlite:///{directory / 'state.sqlite3'}")
    hasher = KeyHasher(time_cost=1, memory_kib=64)
    try:
        await database.migrate()
        master_key = MasterKey.load_or_create(directory / "master.key")
        names = {"app_domain": "apps.example.com", "mongo_domain": "mongodb.example.com"}
        anchor = await load_authority(
            database, master_key, installation="test", key_type="ec", now=utc_now()
        )
        signing = await load_signing_keys(database, master_key, now=utc_now(), ttl=TTL)
        publisher = FakePublisher()
        routes = RouteService(
            database, publisher, tls_available=True, most_at_once=most_at_once, **names
        )
        certificates = CertificateService(
            database, master_key, anchor, installation="test", key_type="ec", **names
        )
        throttle = Throttle(clock=time.monotonic, burst=burst)
        agents = AgentService(
            database,
            publisher,
            routes,
            certificates,
            keys=KeyCheck(hasher, throttle, VerifiedKeys(clock=time.monotonic)),
            tokens=TokenIssuer(signing, issuer="test", audience="test", ttl=TTL, clock=utc_now),
            operator=OperatorCredential(OPERATOR_TOKEN),
            enrolment=enrolment,
        )
        yield RealWorld(database, agents, routes, certificates, publisher, most_at_once)
    finally:
        hasher.close()
        await database.close()
