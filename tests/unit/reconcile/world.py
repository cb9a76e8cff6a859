"""A reconciler over a HAProxy of dictionaries and a list of routes, driven round by round."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from frontserver.backends.memory import MemoryBackend
from frontserver.errors import StorageError
from frontserver.model.measurements import Measurements
from frontserver.model.routes import Route, RouteKey
from frontserver.model.status import RouteState, RouteStatus
from frontserver.model.targets import TargetPolicy
from frontserver.planning.compiled import Certificate, CompiledConfig, Frontends
from frontserver.planning.layout import PoolPolicy
from frontserver.reconcile.desired import DesiredState
from frontserver.reconcile.reconciler import Reconciler, Timing
from frontserver.reconcile.resolution import Resolver
from frontserver.storage.routes import StoredRoute
from tests.unit.planning.routes import FRONTENDS, POLICY

QUICK = Timing(
    drift=3600,
    least_drift=0.001,
    names=3600,
    refused=3600,
    sweep=0,
    sweep_rest=0,
    reloads=0,
    rejected=0,
    least_pause=0.001,
    most_pause=0.01,
)


class ListSource:
    """Stored routes in a dictionary. `broken` makes every call fail."""

    def __init__(self) -> None:
        self.revision = 0
        self.rows: dict[RouteKey, StoredRoute] = {}
        self.saved: dict[RouteKey, RouteStatus] = {}
        self.broken = False

    def put(self, *routes: Route) -> int:
        for route in routes:
            self.revision += 1
            before = self.rows.get(route.key)
            kept = before is not None and before.route is not None
            created = before.created if before is not None and kept else self.revision
            self.rows[route.key] = StoredRoute(route, self.revision, created)
        return self.revision

    def remove(self, route: Route) -> int:
        self.revision += 1
        self.rows[route.key] = StoredRoute(None, self.revision)
        return self.revision

    async def snapshot(self) -> tuple[int, Mapping[RouteKey, StoredRoute]]:
        self._reach()
        return self.revision, {k: row for k, row in self.rows.items() if row.route is not None}

    async def changes_since(self, revision: int) -> tuple[int, Mapping[RouteKey, StoredRoute]]:
        self._reach()
        return self.revision, {k: row for k, row in self.rows.items() if row.revision > revision}

    async def save_statuses(self, node: str, statuses: Mapping[RouteKey, RouteStatus]) -> None:
        self._reach()
        self.saved.update(statuses)

    async def load_statuses(self, node: str) -> Mapping[RouteKey, RouteStatus]:
        self._reach()
        return self.saved

    def _reach(self) -> None:
        if self.broken:
            raise StorageError("the database is locked")


class World:
    """Everything around one reconciler. `addresses` is what names resolve to."""

    def __init__(
        self,
        *,
        refuses: Callable[[object], str | None] = lambda _: None,
        policy: PoolPolicy = POLICY,
        timing: Timing = QUICK,
        budget: int = 1 << 30,
        measurements: Measurements | None = None,
    ) -> None:
        self.backend = MemoryBackend(refuses=refuses)
        self.source = ListSource()
        self.addresses: dict[str, list[str]] = {}
        self.certificates: tuple[Certificate, ...] = ()
        self.pools = policy
        self.timing = timing
        self.budget = budget
        self.measurements = measurements
        self.reconciler = self.again()

    def again(self, frontends: Frontends = FRONTENDS) -> Reconciler:
        """A new reconciler over the same HAProxy and the same rows, as after a restart."""
        self.resolver = Resolver(self._lookup)
        desired = DesiredState(CompiledConfig(frontends), self.resolver, TargetPolicy())
        self.reconciler = Reconciler(
            self.backend,
            self.source,
            desired,
            self.resolver,
            policy=self.pools,
            certificates=lambda: self.certificates,
            timing=self.timing,
            budget=self.budget,
            measurements=self.measurements,
        )
        return self.reconciler

    async def publish(self, *routes: Route) -> list[RouteStatus]:
        """Store routes and take one round."""
        self.source.put(*routes)
        await self.reconciler.step()
        return [self.reconciler.status(route.key) for route in routes]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Reconciler]:
        """The reconciler's own loop, in the background."""
        task = asyncio.create_task(self.reconciler.run())
        try:
            yield self.reconciler
        finally:
            task.cancel()
            await asyncio.wait({task})

    def maps(self, name: str) -> Mapping[str, str]:
        assert self.backend.running is not None
        return self.backend.running.maps[name]

    def servers_of(self, domain: str) -> list[str]:
        """The addresses that a domain's traffic goes to."""
        assert self.backend.running is not None
        for name in ("maps/hosts.map", "maps/sni.map"):
            slot = self.maps(name).get(domain)
            if slot is not None:
                servers = self.backend.running.servers[slot].values()
                return sorted(f"{server.address}:{server.port}" for server in servers)
        return []

    async def _lookup(self, host: str) -> list[str]:
        if host not in self.addresses:
            raise OSError("Name or service not known")
        return self.addresses[host]


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Poll until the condition holds; fails the test when it doesn't in time."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


def states(statuses: list[RouteStatus]) -> list[RouteState]:
    return [status.state for status in statuses]
