"""The stored state and the use cases over it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec

from frontserver.composition.frontends import tls_available
from frontserver.composition.targets import target_policy
from frontserver.model.routes import RouteKey
from frontserver.model.status import PENDING, ProxyStatus, RouteStatus
from frontserver.pki.sealing import MasterKey
from frontserver.security.keys import KeyHasher, VerifiedKeys
from frontserver.security.operators import OperatorCredential
from frontserver.security.throttle import Throttle
from frontserver.security.tokens import TokenIssuer
from frontserver.services.agents import AgentService
from frontserver.services.certificates import CertificateService
from frontserver.services.credentials import KeyCheck
from frontserver.services.installation import load_authority, load_signing_keys
from frontserver.services.ports import Publisher
from frontserver.services.routes import RouteService
from frontserver.settings import Settings
from frontserver.storage.engine import Database, open_database
from frontserver.storage.routes import StoredRoute

TOKEN_LIFE = timedelta(hours=24)


class Services(msgspec.Struct, frozen=True):
    """The use cases over one open database."""

    database: Database
    agents: AgentService
    routes: RouteService
    certificates: CertificateService


@asynccontextmanager
async def opened_database(settings: Settings) -> AsyncIterator[Database]:
    """The database, its schema brought up to date."""
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = open_database(settings.database_url)
    try:
        await database.migrate()
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def opened_services(settings: Settings) -> AsyncIterator[Services]:
    """The services without a HAProxy, for commands that only change what is stored."""
    async with opened_database(settings) as database:
        yield await make_services(settings, database, _Nobody())


async def make_services(settings: Settings, database: Database, publisher: Publisher) -> Services:
    """The services over an open database."""
    now = datetime.now(UTC)
    master_key = await asyncio.to_thread(MasterKey.load_or_create, settings.master_key_file)
    anchor = await load_authority(
        database,
        master_key,
        installation=settings.installation,
        key_type=settings.key_type,
        now=now,
    )
    signing_keys = await load_signing_keys(database, master_key, now=now, ttl=TOKEN_LIFE)
    certificates = CertificateService(
        database,
        master_key,
        anchor,
        installation=settings.installation,
        app_domain=settings.app_domain,
        mongo_domain=settings.mongo_domain,
        key_type=settings.key_type,
    )
    routes = RouteService(
        database,
        publisher,
        app_domain=settings.app_domain,
        mongo_domain=settings.mongo_domain,
        tls_available=tls_available(settings),
        connection_port=settings.connection_port,
        policy=target_policy(settings),
        reserved=settings.reserved_subdomains,
        most_profiles=settings.profiles_per_agent,
        most_at_once=settings.batch_routes,
        profiles=settings.route_profiles,
    )
    agents = AgentService(
        database,
        publisher,
        routes,
        certificates,
        keys=KeyCheck(
            KeyHasher(), Throttle(clock=time.monotonic), VerifiedKeys(clock=time.monotonic)
        ),
        tokens=TokenIssuer(
            signing_keys,
            issuer=settings.installation,
            audience="frontserver",
            ttl=TOKEN_LIFE,
            clock=lambda: datetime.now(UTC),
        ),
        operator=OperatorCredential(settings.admin_token),
        enrolment=settings.enrolment,
    )
    return Services(database, agents, routes, certificates)


class _Nobody:
    """A publisher for commands: a running `serve` finds what was stored by itself."""

    def tell(self, key: RouteKey, stored: StoredRoute) -> None:
        pass

    def wake(self) -> None:
        pass

    async def settle(self, key: RouteKey, revision: int, seconds: float) -> RouteStatus:  # noqa: ARG002
        return PENDING

    def status(self, key: RouteKey) -> RouteStatus:  # noqa: ARG002
        return PENDING

    def proxy_status(self) -> ProxyStatus:
        return ProxyStatus(False, False, 0, 0)
