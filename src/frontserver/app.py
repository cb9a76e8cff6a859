"""The front server as a whole: its parts are brought up, and taken down in the opposite order."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from contextlib import AsyncExitStack

from litestar.types import ASGIApp

from frontserver import __version__
from frontserver.api.metrics import Metrics
from frontserver.composition.api import listening_socket, make_api, make_server
from frontserver.composition.backends import make_backend
from frontserver.composition.haproxy import controller_lock, haproxy_process
from frontserver.composition.reconciliation import make_reconciler
from frontserver.composition.services import make_services, opened_database
from frontserver.composition.templates import rehearsed_templates, template_updates
from frontserver.haproxy.process import EmbeddedHaproxy
from frontserver.reconcile.reconciler import Reconciler
from frontserver.rendering.render import Renderer
from frontserver.settings import Settings

logger = logging.getLogger(__name__)

# Objects made before the young, the middle and the old are looked at for garbage (gc module).
_COLLECTIONS = 10_000, 20, 50
_SETTLING = 0.5


class FrontServer:
    """One control plane: API, reconciler, HAProxy. `run` serves until a signal ends it.

    `started` is set once the API listens. With `share_ports` a HAProxy that is started may find
    another one on its ports; it listens there once it has all routes.
    """

    def __init__(
        self, settings: Settings, *, stop_haproxy: bool = False, share_ports: bool = False
    ) -> None:
        self.settings = settings
        self.started = asyncio.Event()
        self._stop_haproxy = stop_haproxy
        self._share_ports = share_ports
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Compose everything, serve, and take it down in the opposite order."""
        settings = self.settings
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        # From the first moment: without a handler, SIGHUP would end us.
        hangup = asyncio.Event()
        loop.add_signal_handler(signal.SIGHUP, hangup.set)
        templates = await asyncio.to_thread(rehearsed_templates, settings)
        renderer = Renderer(templates)
        metrics = Metrics(__version__) if settings.metrics else None
        async with AsyncExitStack() as stack:
            stack.enter_context(controller_lock(settings))
            listener = stack.enter_context(listening_socket(settings.listen))
            process = haproxy_process(settings, share_ports=self._share_ports)
            if self._stop_haproxy and isinstance(process, EmbeddedHaproxy):
                stack.push_async_callback(process.stop)
            backend = make_backend(
                settings, process, renderer, metrics, share_ports=self._share_ports
            )
            stack.push_async_callback(backend.close)
            database = await stack.enter_async_context(opened_database(settings))
            reconciler = make_reconciler(settings, backend, database, templates, metrics)
            updates = template_updates(settings, templates, renderer, reconciler)
            stack.push_async_callback(_cancelled, asyncio.create_task(updates.follow(hangup)))
            services = await make_services(settings, database, reconciler)
            task = asyncio.create_task(reconciler.run())
            stack.push_async_callback(_cancelled, task)
            gc.set_threshold(*_COLLECTIONS)
            settling = asyncio.create_task(self._settle_memory(reconciler))
            stack.push_async_callback(_cancelled, settling)
            api = make_api(settings, services, reconciler, metrics)
            await self._serve(api, listener, task)

    def stop(self) -> None:
        """End `run`, as SIGTERM and Ctrl-C do."""
        self._stopping.set()

    async def _serve(
        self, api: ASGIApp, listener: socket.socket, reconciling: asyncio.Task[None]
    ) -> None:
        server = make_server(api)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            while not (server.started or serving.done()):
                await asyncio.sleep(0.01)
            logger.info("listening on http://%s", self.settings.listen)
            self.started.set()
            # An API that drives nothing any more is worse than none: somebody restarts it then.
            await asyncio.wait(
                {serving, stopping, reconciling}, return_when=asyncio.FIRST_COMPLETED
            )
            server.should_exit = True
            await serving
            if reconciling.done():
                await reconciling
        finally:
            stopping.cancel()

    async def _settle_memory(self, reconciler: Reconciler) -> None:
        """Once all routes are there, don't let the collector look at them again and again.

        A full collection over 50,000 routes takes 0.3 s, in which nobody is served.
        """
        while not reconciler.proxy_status().in_step:
            await asyncio.sleep(_SETTLING)
        gc.collect()
        gc.freeze()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
