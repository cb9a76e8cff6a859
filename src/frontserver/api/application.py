"""The Litestar application: controllers, authentication, problems and OpenAPI put together.

It composes HTTP only. Services, engines and settings come from the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.middleware import DefineMiddleware
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, SwaggerRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme, Tag
from litestar.types import ControllerRouterHandler, LifespanHook, Message, Scope

from frontserver.api.agents import AgentController
from frontserver.api.authentication import PUBLIC, Authentication
from frontserver.api.batches import batch_controller
from frontserver.api.certificates import CertificateController
from frontserver.api.decoding import MAX_BODY_BYTES, StrictJson
from frontserver.api.dependencies import providers
from frontserver.api.documentation import operation_id, problem_responses
from frontserver.api.health import HealthController, StorageCheck
from frontserver.api.metrics import Metrics, MetricsController
from frontserver.api.peers import PeerAddresses
from frontserver.api.problems import answer
from frontserver.api.routes import RouteController
from frontserver.api.schemas import WireSchemas
from frontserver.services.agents import AgentService
from frontserver.services.certificates import CertificateService
from frontserver.services.ports import Publisher
from frontserver.services.routes import RouteService

Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]


def create_api(
    *,
    agents: AgentService,
    routes: RouteService,
    certificates: CertificateService,
    publisher: Publisher,
    storage_check: StorageCheck,
    version: str,
    metrics: Metrics | None = None,
    trusted_proxies: Sequence[str] = (),
    most_at_once: int = 10_000,
    route_handlers: Sequence[ControllerRouterHandler] = (),
    lifespan: Sequence[Lifespan] = (),
    on_startup: Sequence[LifespanHook] = (),
    on_shutdown: Sequence[LifespanHook] = (),
) -> Litestar:
    """The ASGI application over these services.

    `storage_check` raises a `FrontServerError` when the database doesn't answer. `metrics` are
    shown under /metrics, if there are any; it is `MeasuredApp` that counts the requests.
    `trusted_proxies` are CIDRs whose `X-Forwarded-For` counts. `most_at_once` is how many routes
    may be published together. `route_handlers` are served
    beside the API; they need credentials unless marked with `authentication.PUBLIC`.
    """
    peers = PeerAddresses(trusted_proxies)
    dependencies = providers(
        agents=agents, routes=routes, certificates=certificates, publisher=publisher, peers=peers
    )
    dependencies["version"] = Provide(lambda: version, sync_to_thread=False)
    dependencies["storage_check"] = Provide(lambda: storage_check, sync_to_thread=False)
    shown: list[ControllerRouterHandler] = []
    if metrics is not None:
        dependencies["measured"] = Provide(lambda: metrics, sync_to_thread=False)
        shown.append(MetricsController)
    return Litestar(
        [
            AgentController,
            # Together, since they share a path.
            Router("/", route_handlers=[RouteController, batch_controller(most_at_once)]),
            CertificateController,
            HealthController,
            *shown,
            *route_handlers,
        ],
        dependencies=dependencies,
        dto=StrictJson,
        return_dto=None,
        exception_handlers={Exception: answer},
        middleware=[DefineMiddleware(Authentication, agents=agents, peers=peers)],
        before_send=[_harden],
        openapi_config=_openapi(version),
        plugins=[WireSchemas()],
        request_max_body_size=MAX_BODY_BYTES,
        lifespan=list(lifespan),
        on_startup=list(on_startup),
        on_shutdown=list(on_shutdown),
        logging_config=None,
        debug=False,
    )


async def _harden(message: Message, _: Scope) -> None:
    """Browsers must not guess that an answer is a page."""
    if message["type"] == "http.response.start":
        message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]


def _openapi(version: str) -> OpenAPIConfig:
    return OpenAPIConfig(
        title="frontserver",
        version=version,
        description=(
            "Agents ask for HTTP routes and TLS MongoDB routes; HAProxy serves them without a "
            "reload. Every error is a problem document (RFC 9457)."
        ),
        use_handler_docstrings=True,
        operation_id_creator=operation_id,
        components=Components(
            responses=problem_responses(),
            security_schemes={
                "bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT"),
                "basic": SecurityScheme(
                    type="http", scheme="basic", description="agentId:agentKey"
                ),
            },
        ),
        security=[{"bearer": []}, {"basic": []}],
        tags=[
            Tag(name="Agents", description="Registration, tokens and keys."),
            Tag(name="Routes", description="What HAProxy serves for whom."),
            Tag(name="Certificates", description="TLS for MongoDB, and mongod's settings."),
            Tag(name="Health", description="For supervisors, load balancers, Prometheus."),
        ],
        # The documents themselves are public.
        openapi_router=Router(
            "/schema", route_handlers=[], opt=PUBLIC["opt"], include_in_schema=False
        ),
        render_plugins=[JsonRenderPlugin(), SwaggerRenderPlugin(path=["/", "/swagger"])],
    )
