"""A control plane over a Data Plane API in memory, taken through rounds as the reconciler does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from frontserver.backends.dataplane.backend import DataPlaneBackend
from frontserver.backends.dataplane.ledger import Ledger
from frontserver.backends.dataplane.shared import one_file
from frontserver.backends.port import State
from frontserver.model.routes import Route, RouteKey
from frontserver.planning.compiled import Certificate, CompiledConfig, Frontends
from frontserver.planning.diff import diff
from frontserver.planning.layout import Layout
from frontserver.planning.plan import ReloadReason, plan
from frontserver.planning.running import adopt
from frontserver.reconcile.applied import Applied
from frontserver.rendering.render import Renderer
from frontserver.rendering.templates import Templates
from tests.unit.backends.dataplane.fake import FakeApi
from tests.unit.planning.routes import FRONTENDS, POLICY, compiled

_TEMPLATES = Templates()


class World:
    """One Data Plane API, and the control planes that drive it one after the other."""

    def __init__(self, directory: Path, *, shared: bool = False) -> None:
        self.api = FakeApi()
        self.frontends: Frontends = FRONTENDS
        self.certificates: tuple[Certificate, ...] = ()
        self._directory = directory
        self._shared = shared
        self._abandoned: list[DataPlaneBackend] = []
        self.succeed()

    def succeed(self) -> None:
        """Another control plane, which knows nothing but what the one before wrote down."""
        self.backend = DataPlaneBackend(
            client=self.api.client,
            renderer=Renderer(_TEMPLATES),
            ledger=Ledger(self._directory / "ledger.json"),
            compose=one_file if self._shared else None,
        )
        self.applied = Applied(self.backend, POLICY, CompiledConfig(self.frontends))
        self._abandoned.append(self.backend)

    async def abandon(self) -> None:
        """End all that the control planes have going on, as `kill -9` does: nothing is flushed."""
        for backend in self._abandoned:
            for task in (backend._flushing._task, backend._watching, backend._idleness._looking):
                if task is not None:
                    task.cancel()
                    await asyncio.wait({task})
        self._abandoned.clear()

    async def kill(self) -> None:
        """The control plane is killed, and another one takes its place."""
        await self.abandon()
        self.succeed()

    # --- rounds ---

    async def start(self) -> None:
        """As the reconciler's first round does."""
        await self.backend.start(State(self._wanted(()), Layout().reloaded({}, POLICY)))

    async def look(self, *routes: Route) -> None:
        """Observe, clear strays away, and take what runs as the truth."""
        running = await self.backend.observe()
        found = adopt(self._wanted(routes), running, self.applied.layout)
        await self.applied.clear(found.strays)
        await self.applied.adopted(found, known=running.frontends is not None)

    async def bring(self, *routes: Route) -> None:
        """Have these routes and no others; what needs a reload gets it."""
        wanted = self._wanted(routes)
        planned = plan(
            diff(self.applied.config, wanted), self.applied.layout, limits=self.backend.limits
        )
        assert await self.applied.take(planned) == {}
        if planned.reasons:
            preparation = await self.applied.prepare(wanted, planned.deferred, planned.reasons)
            assert await self.applied.load(preparation, preparation.changes) == {}

    async def refill(self) -> None:
        """A reload for nobody."""
        reasons = (ReloadReason.POOL_REFILL,)
        preparation = await self.applied.prepare(self.applied.config, (), reasons)
        await self.applied.load(preparation, ())

    async def begin(self, *routes: Route) -> None:
        """Start, see what runs, and bring in these routes, at run time if that is possible."""
        await self.start()
        await self.look(*routes)
        if not self.applied.known:
            await self.bring()
        await self.bring(*routes)

    async def heal(self, *routes: Route) -> None:
        """Rounds until these routes run, as after a failure."""
        for _ in range(3):
            await self.look(*routes)
            await self.bring(*routes)
            await self.flush()

    async def flush(self) -> None:
        """Let disk catch up now."""
        await self.backend._writer.flush()

    async def sweep(self) -> None:
        """Give slots back whose last stream has ended, and wait for a look that tells."""
        await self._looked()
        self.backend._idleness._due = 0.0
        await self.applied.sweep()
        await self._looked()
        await self.applied.sweep()

    async def _looked(self) -> None:
        looking = self.backend._idleness._looking
        if looking is not None:
            await asyncio.wait({looking})

    def _wanted(self, routes: Iterable[Route]) -> CompiledConfig:
        config = CompiledConfig(self.frontends, certificates=self.certificates)
        return config.with_routes(compiled(*routes))

    # --- what is so ---

    def slot(self, route: Route | RouteKey) -> str:
        """The backend that a route occupies."""
        return self.applied.layout.slots[route if isinstance(route, RouteKey) else route.key]

    def free(self, *backends: str) -> bool:
        """Whether these backends may be given to others."""
        return not set(backends) & self.applied.layout.resting()


def addresses(*routes: Route) -> dict[str, set[tuple[str, int]]]:
    """By routing key, the addresses that requests for these routes are to reach."""
    return {
        key: {(server.address, server.port) for server in route.servers}
        for route in compiled(*routes).values()
        if route is not None
        for _, key in route.routing
    }
