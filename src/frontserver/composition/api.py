"""The HTTP application, and the server that carries it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from litestar.types import ASGIApp

from frontserver import __version__
from frontserver.api.application import create_api
from frontserver.api.metrics import MeasuredApp, Metrics
from frontserver.composition.services import Services
from frontserver.errors import ProcessConflictError
from frontserver.model.targets import HostPort
from frontserver.services.ports import Publisher
from frontserver.settings import Settings

_BACKLOG = 2048


def make_api(
    settings: Settings, services: Services, publisher: Publisher, metrics: Metrics | None = None
) -> ASGIApp:
    """The ASGI application; its requests count in `metrics`."""
    api = create_api(
        agents=services.agents,
        routes=services.routes,
        certificates=services.certificates,
        publisher=publisher,
        storage_check=services.database.ping,
        version=__version__,
        metrics=metrics,
        trusted_proxies=settings.trusted_proxies,
        most_at_once=settings.batch_routes,
    )
    return api if metrics is None else MeasuredApp(api, metrics)


def listening_socket(listen: HostPort) -> socket.socket:
    """A socket that listens there; raises `ProcessConflictError` if it can't be had."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named: without it answers take 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((listen.host, listen.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ProcessConflictError(
            f"the API can't listen on {listen}: {error.strerror}",
            hint="stop what is there, or set another FRONTSERVER_LISTEN",
        ) from error
    return listener


def make_server(api: ASGIApp) -> uvicorn.Server:
    """Carries the application over sockets that are given to it; signals are left to the caller."""
    return _Server(
        uvicorn.Config(
            api,
            http="httptools",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=5,
            # Agents keep their connections; closing under a request would cost them a retry.
            timeout_keep_alive=75,
        )
    )


class _Server(uvicorn.Server):
    """Leaves signals to us: uvicorn would raise them anew and cut our own cleaning up short."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
