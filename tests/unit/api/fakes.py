"""Services that remember in dictionaries, with the real wire rules and none of the storage."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
from litestar import Litestar
from msgspec.structs import replace

from frontserver.api.application import create_api
from frontserver.api.examples.certificates import BUNDLE, CA, CONFIG
from frontserver.api.metrics import Metrics
from frontserver.errors import (
    AuthenticationError,
    CertificateError,
    ConflictError,
    InputError,
    NotFoundError,
)
from frontserver.model.names import AgentId, Subdomain
from frontserver.model.routes import RouteKey, RouteKind
from frontserver.model.status import ProxyStatus, RouteState, RouteStatus
from frontserver.security import principals
from frontserver.security.principals import OPERATOR, Principal
from frontserver.security.tokens import IssuedToken
from frontserver.services.admission import normalised_ca
from frontserver.services.agents import AgentService, Registration
from frontserver.services.certificates import CertificateService
from frontserver.services.profiles import profile
from frontserver.services.routes import Published, RouteService
from frontserver.storage.agents import AgentRecord
from frontserver.storage.routes import StoredRoute
from frontserver.wire.agents import AgentView, AuthenticateRequest, RegisterRequest
from frontserver.wire.certificates import AgentConfig, CertificateBundle
from frontserver.wire.routes.answers import RouteView
from frontserver.wire.routes.requests import HttpRouteRequest, MongoRouteRequest, RemoveRequest
from frontserver.wire.routes.translation import http_route, mongo_route, path_prefix

AGENT_ADDRESS = "203.0.113.7"
TOKEN = "token-server-id"
OPERATOR_TOKEN = "operator-token"
IN_STEP = ProxyStatus(
    reachable=True,
    in_step=True,
    applied_revision=7,
    stored_revision=7,
    version="2.8.25",
    counts={"routes": 3},
)
ACTIVE = RouteStatus(RouteState.ACTIVE, revision=7)
EXPIRES = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
STAMP = "2030-01-01T00:00:00Z"


class FakeAgents(AgentService):
    """Keys by agent. The token of agent `a` is `token-a`. `failure` is raised by any call."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.keys = {"server-id": "AGENT_TOKEN", "other": "OTHER_KEY"}
        self.peers: list[str] = []
        self.failure: Exception | None = None

    def _called(self, peer: str) -> None:
        self.peers.append(peer)
        if self.failure:
            raise self.failure

    async def register(self, request: RegisterRequest, *, peer: str) -> Registration:
        self._called(peer)
        agent_id = AgentId(request.agent_id)
        known = self.keys.get(agent_id)
        if known not in {None, request.agent_key}:
            raise ConflictError("this agent is registered with another key")
        if not request.agent_key.isprintable() or not 1 <= len(request.agent_key) <= 256:
            raise InputError("agentKey", "a key is 1 to 256 printable characters")
        name = request.agent_name or agent_id
        if not name.isprintable() or len(name) > 64:
            raise InputError("agentName", "a name is 1 to 64 printable characters")
        target_ip = profile(request, peer).target_ip
        self.keys[agent_id] = request.agent_key
        return Registration(
            agent=_record(agent_id, name, target_ip),
            token=f"token-{agent_id}",
            expires_at=EXPIRES,
            created=known is None,
            certificates=BUNDLE,
        )

    async def authenticate(self, request: AuthenticateRequest, *, peer: str) -> IssuedToken:
        self._called(peer)
        if self.keys.get(request.agent_id.lower()) != request.agent_key:
            raise AuthenticationError("the agent or its key is wrong")
        return IssuedToken(f"token-{request.agent_id.lower()}", EXPIRES, "jti")

    async def principal_from_token(self, token: str) -> Principal:
        if token == OPERATOR_TOKEN:
            return OPERATOR
        if not token.startswith("token-"):
            raise AuthenticationError("the signature is wrong")
        return principals.agent(AgentId(token.removeprefix("token-")))

    async def principal_from_basic(self, agent_id: str, key: str, *, peer: str) -> Principal:
        self._called(peer)
        if self.keys.get(AgentId(agent_id)) != key:
            raise AuthenticationError("the agent or its key is wrong")
        return principals.agent(AgentId(agent_id))

    async def show(self, agent_id: AgentId) -> AgentView:
        self._known(agent_id)
        return AgentView(
            agent_id=agent_id,
            agent_name=agent_id,
            target_ip=AGENT_ADDRESS,
            created_at=STAMP,
            updated_at=STAMP,
            routes=[],
        )

    async def remove(self, agent_id: AgentId, principal: Principal, *, peer: str) -> None:
        self._called(peer)
        self._known(agent_id)
        del self.keys[agent_id]

    async def rotate_key(
        self, agent_id: AgentId, new_key: str, principal: Principal, *, peer: str
    ) -> None:
        self._called(peer)
        self._known(agent_id)
        if not new_key.isprintable() or not 1 <= len(new_key) <= 256:
            raise InputError("agentKey", "a key is 1 to 256 printable characters")
        self.keys[agent_id] = new_key

    def _known(self, agent_id: AgentId) -> None:
        if agent_id not in self.keys:
            raise NotFoundError(f"there is no agent {agent_id}")


def _record(agent_id: AgentId, name: str, target_ip: str) -> AgentRecord:
    return AgentRecord(
        agent_id=agent_id,
        name=name,
        target_ip=target_ip,
        peer_verified=True,
        key_hash="",
        tokens_valid_after=0,
        created_at=EXPIRES,
        updated_at=EXPIRES,
    )


class FakeRoutes(RouteService):
    """Views by key; every change ends as `outcome` says."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.views: dict[RouteKey, RouteView] = {}
        self.outcome = ACTIVE
        self.waits: list[float] = []
        self.failure: Exception | None = None

    async def publish_http(
        self, request: HttpRouteRequest, principal: Principal, *, peer: str, wait: float
    ) -> Published:
        request = normalised_ca(request)
        route = http_route(request, app_domain="apps.example.com", tls_available=True)
        principal.require_agent(route.agent_id)
        view = self._view(
            "http", route.agent_id, route.domain, subdomain=route.subdomain,
            path=None if route.path.is_root else str(route.path),
            target_url=str(route.targets[0].url),
        )  # fmt: skip
        return self._publish(route.key, view, wait)

    async def publish_mongodb(
        self, request: MongoRouteRequest, principal: Principal, *, peer: str, wait: float
    ) -> Published:
        route = mongo_route(request, mongo_domain="mongodb.example.com", default_host=peer)
        principal.require_agent(route.agent_id)
        view = self._view(
            "mongodb", route.agent_id, route.domain,
            target_host=route.target.host, target_port=route.target.port,
        )  # fmt: skip
        done = self._publish(route.key, view, wait)
        return replace(done, connection_string=f"mongodb://{route.domain}:27017/?tls=true")

    def _view(self, kind: str, agent_id: str, domain: str, **more: Any) -> RouteView:
        return RouteView(
            type=kind,
            agent_id=agent_id,
            domain=domain,
            status=self.outcome.state,
            reason=self.outcome.reason,
            reload=self.outcome.reload,
            options={},
            created_at=STAMP,
            updated_at=STAMP,
            **more,
        )

    def _publish(self, key: RouteKey, view: RouteView, wait: float) -> Published:
        if self.failure:
            raise self.failure
        self.waits.append(wait)
        present = self.views.get(key)
        if present and present.agent_id != view.agent_id:
            raise ConflictError(f"{view.domain} belongs to another agent")
        self.views[key] = view
        return Published(view=view, status=self.outcome, created=present is None)

    async def remove(
        self, request: RemoveRequest, principal: Principal, *, peer: str, wait: float
    ) -> RouteStatus:
        agent_id = AgentId(request.agent_id)
        principal.require_agent(agent_id)
        if request.type not in {"http", "mongodb"}:
            raise InputError("type", "a route's type is http or mongodb")
        if request.type == "http" and not request.subdomain:
            raise InputError("subdomain", "an HTTP route is removed by its subdomain")
        key = RouteKey(RouteKind.MONGODB, agent_id)
        if request.type == "http":
            key = RouteKey.http(Subdomain(str(request.subdomain)), path_prefix(request.path))
        view = self.views.pop(key, None)
        if view is None:
            raise NotFoundError("there is no such route")
        self.waits.append(wait)
        return self.outcome

    async def list_agent(self, agent_id: AgentId) -> list[RouteView]:
        return [view for view in self.views.values() if view.agent_id == agent_id]

    async def list_all(
        self, *, after: str | None, limit: int
    ) -> tuple[list[RouteView], int, str | None]:
        keys = sorted(key for key in self.views if after is None or str(key) > after)
        following = str(keys[limit - 1]) if len(keys) > limit else None
        return [self.views[key] for key in keys[:limit]], len(self.views), following

    async def show(self, key: RouteKey) -> RouteView:
        if key not in self.views:
            raise NotFoundError("there is no such route")
        return self.views[key]


class FakeCertificates(CertificateService):
    """The bundle of the examples for everyone."""

    def __init__(self) -> None:
        self.failure: Exception | None = None

    async def bundle(self, agent_id: AgentId) -> CertificateBundle:
        if self.failure:
            raise self.failure
        return BUNDLE

    async def config(self, agent_id: AgentId) -> AgentConfig:
        return replace(CONFIG, agent_id=agent_id, certificates=await self.bundle(agent_id))

    async def ca_pem(self) -> str:
        if self.failure:
            raise self.failure
        return CA

    async def sign(self, agent_id: AgentId, csr_pem: str) -> CertificateBundle:
        if "BEGIN CERTIFICATE REQUEST" not in csr_pem:
            raise InputError("csr", "the certificate request can't be read") from CertificateError(
                "the PEM text holds no request"
            )
        return replace(BUNDLE, key=None, server_key=None)


class FakePublisher:
    """HAProxy as `proxy` says; every route is as `outcome` says."""

    def __init__(self) -> None:
        self.proxy = IN_STEP
        self.outcome = ACTIVE

    def tell(self, key: RouteKey, stored: StoredRoute) -> None:
        pass

    def wake(self) -> None:
        """Nobody listens."""

    async def settle(self, key: RouteKey, revision: int, seconds: float) -> RouteStatus:
        return self.outcome

    def status(self, key: RouteKey) -> RouteStatus:
        return self.outcome

    def proxy_status(self) -> ProxyStatus:
        return self.proxy


class Calls:
    """A way to call an API from any address."""

    api: Litestar

    async def call(
        self,
        method: str,
        path: str,
        *,
        token: str | None = TOKEN,
        address: str = AGENT_ADDRESS,
        headers: dict[str, str] | None = None,
        **request: Any,
    ) -> httpx.Response:
        sent = {"authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(self.api, client=(address, 40000))
        async with httpx.AsyncClient(transport=transport, base_url="http://front") as client:
            return await client.request(method, path, headers=sent | (headers or {}), **request)


class World(Calls):
    """The API over fakes."""

    def __init__(self, **options: Any) -> None:
        self.agents = FakeAgents()
        self.routes = FakeRoutes()
        self.certificates = FakeCertificates()
        self.publisher = FakePublisher()
        self.storage_failure: Exception | None = None
        self.api = create_api(
            agents=self.agents,
            routes=self.routes,
            certificates=self.certificates,
            publisher=self.publisher,
            storage_check=self._check_storage,
            version="1.2.3",
            **{"metrics": Metrics("1.2.3"), **options},
        )
        self.reset()

    def reset(self) -> None:
        """As at the start: the agent of `TOKEN`, another one, no routes, all well."""
        self.agents.reset()
        self.routes.reset()
        self.certificates.failure = None
        self.publisher.proxy = IN_STEP
        self.storage_failure = None

    async def _check_storage(self) -> None:
        if self.storage_failure:
            raise self.storage_failure


def assert_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The body of a problem, once every member that a reader may rely on is there."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == body["code"] == status
    assert body["success"] is False
    assert body["detail"] == body["error"] == body["message"]
    assert body["detail"]
    assert body["title"]
    assert body["type"].startswith("/problems/")
    assert body["instance"].startswith("urn:uuid:")
    return body
