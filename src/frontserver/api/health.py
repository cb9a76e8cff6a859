"""Liveness and readiness, for whoever supervises or balances the front server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec
from litestar import Controller, MediaType, Response, get
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import SkipValidation

from frontserver.api import problems
from frontserver.api.authentication import PUBLIC
from frontserver.api.dependencies import Proxy
from frontserver.api.documentation import answers, described
from frontserver.api.examples import health as examples
from frontserver.errors import FrontServerError
from frontserver.model.status import ProxyStatus
from frontserver.wire.health import Alive, Ready, Unready, proxy_view

# Raises when the database doesn't answer.
StorageCheck = Callable[[], Awaitable[None]]
Version = NamedDependency[str]
_STORAGE_SECONDS = 3
_UNREADY = problems.Kind(503, "not-ready", "Not ready")

_log = logging.getLogger(__name__)


class HealthController(Controller):
    """Public, and cheap enough to be asked every second."""

    tags = ("Health",)
    cache_control = CacheControlHeader(no_store=True)

    @get(
        "/health",
        **PUBLIC,
        responses=answers(Alive, {200: ("The process answers.", examples.ALIVE)}),
        operation_class=described(),
    )
    async def health(self, version: Version) -> Alive:
        """Whether the process is alive; says nothing about HAProxy or the database."""
        return Alive(version=version)

    @get(
        "/health/ready",
        media_type=MediaType.JSON,
        **PUBLIC,
        responses={
            **answers(Ready, {200: ("The database answers, HAProxy runs all.", examples.READY)}),
            503: ResponseSpec(
                Unready,
                description="Not ready; `reasons` says why.",
                examples=[
                    Example(summary="not ready", value=msgspec.to_builtins(examples.UNREADY))
                ],
                media_type=problems.MEDIA_TYPE,
                generate_examples=False,
            ),
        },
        operation_class=described(),
    )
    async def ready(
        self,
        version: Version,
        publisher: Proxy,
        storage_check: NamedDependency[SkipValidation[StorageCheck]],
    ) -> Response[Ready | Unready]:
        """Whether routes can be stored, and HAProxy runs all that are."""
        proxy = publisher.proxy_status()
        reasons = [*await _storage_reasons(storage_check), *_proxy_reasons(proxy)]
        if not reasons:
            return Response(Ready(version=version, haproxy=proxy_view(proxy)))
        return Response(
            unready(reasons, proxy, version),
            status_code=503,
            media_type=problems.MEDIA_TYPE,
            headers={"Retry-After": str(problems.RETRY_SECONDS)},
        )


async def _storage_reasons(check: StorageCheck) -> list[str]:
    try:
        async with asyncio.timeout(_STORAGE_SECONDS):
            await check()
    except TimeoutError:
        return [f"the database doesn't answer within {_STORAGE_SECONDS} s"]
    except FrontServerError as error:
        # The error may name hosts or files, and this endpoint is public.
        _log.warning("not ready: %s", error)
        return ["the database doesn't answer"]
    return []


def _proxy_reasons(proxy: ProxyStatus) -> list[str]:
    if not proxy.reachable:
        return [f"HAProxy can't be reached{_because(proxy)}"]
    if not proxy.in_step:
        behind = f"HAProxy runs revision {proxy.applied_revision} of {proxy.stored_revision}"
        return [f"{behind}{_because(proxy)}"]
    return []


def _because(proxy: ProxyStatus) -> str:
    return f": {proxy.reason}" if proxy.reason else ""


def unready(reasons: list[str], proxy: ProxyStatus, version: str) -> Unready:
    """The body of a 503: a problem, with the reasons and HAProxy's state as further members."""
    problem = problems.problem_of(Exception("; ".join(reasons)), _UNREADY)
    return Unready(
        **msgspec.structs.asdict(problem),
        reasons=reasons,
        version=version,
        haproxy=proxy_view(proxy),
    )
