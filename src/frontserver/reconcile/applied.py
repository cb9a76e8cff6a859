"""What one HAProxy runs, as far as is known, and how it is taken to something else."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice

import msgspec

from frontserver.backends.port import Backend, Leftovers, Prepared, State
from frontserver.errors import CommandRefusedError, ConfigRejectedError, TemplateError
from frontserver.model.routes import RouteKey
from frontserver.planning.actions import Action, DropBackend, PutCertificate
from frontserver.planning.compiled import Certificate, CompiledConfig, CompiledRoute
from frontserver.planning.diff import RouteChange
from frontserver.planning.layout import Layout, PoolPolicy
from frontserver.planning.plan import Plan, ReloadReason, RouteSteps, lay_out, lay_out_within
from frontserver.planning.running import Adopted
from frontserver.reconcile.isolation import isolate

logger = logging.getLogger(__name__)

# Asking HAProxy whether a backend is idle takes it 1 ms with 50,000 of them.
_SWEPT_AT_ONCE = 32


class Preparation(msgspec.Struct, frozen=True):
    """A reload that is ready: the routes it brings in, and those that HAProxy refuses.

    `prepared` is `None` if nothing is left to load.
    """

    prepared: Prepared | None
    changes: tuple[RouteChange, ...]
    refused: Mapping[RouteKey, str]
    reasons: tuple[ReloadReason, ...]


class Applied:
    """Keeps `state` equal to what was done to HAProxy; nothing else changes HAProxy.

    Everything raises what the backend raises; `state` then holds what was done until there.
    """

    def __init__(self, backend: Backend, policy: PoolPolicy, config: CompiledConfig) -> None:
        self.state = State(config, Layout())
        self._backend = backend
        self._policy = policy
        self._resting: dict[str, tuple[Action, ...]] = {}
        self._routing: Counter[str] = Counter()
        # How many servers have health checks.
        self.checks = 0
        # Whether HAProxy runs a configuration of ours; until then nothing can be derived from it.
        self.known = True

    @property
    def config(self) -> CompiledConfig:
        return self.state.config

    @property
    def layout(self) -> Layout:
        return self.state.layout

    async def leftovers(self) -> Leftovers:
        """The workers that reloads replaced and that still serve."""
        return await self._backend.leftovers()

    def routing_count(self, name: str) -> int:
        """How many entries a routing map should have."""
        return self._routing[name]

    @property
    def anything_rests(self) -> bool:
        """Whether `sweep` may let a slot serve again."""
        return bool(self._resting)

    @property
    def anything_leaves(self) -> bool:
        """Whether servers that routes left wait for `sweep` to delete them."""
        return self._backend.anything_leaves

    async def adopted(self, found: Adopted, *, known: bool) -> None:
        """HAProxy turned out to run this. `known` is whether it is one of our configurations."""
        self._become(State(found.config, found.layout))
        self._keep_resting()
        self.known = known
        if known:
            # Of a configuration that isn't ours, disk must not become the image.
            await self._backend.persist(self.state, None)

    def looks_like(self, found: Adopted) -> bool:
        """Whether the slots are those that are known; routes and strays aside."""
        return _shape(found.layout) == _shape(self.layout)

    async def take(self, planned: Plan) -> Mapping[RouteKey, str]:
        """Take the steps of a plan that need no reload; returns routes refused, and why."""
        if not planned.steps:
            return {}
        failed = await self._backend.apply(planned.steps)
        layout = planned.layout
        done: list[RouteSteps] = []
        for step in planned.steps:
            if step.key in failed:
                layout = layout.revert(step.key, self.layout.slots.get(step.key))
                continue
            done.append(step)
            if step.vacated is not None:
                self._resting[step.vacated] = step.afterwards
        self._moved(done)
        config = self.config.with_routes({step.key: step.new for step in done})
        self.state = State(config, layout)
        self._keep_resting()
        await self._backend.persist(self.state, done)
        return failed

    async def serve(self, certificates: tuple[Certificate, ...]) -> None:
        """Replace the certificates of those names; raises `CommandRefusedError`."""
        await self._backend.perform([PutCertificate(c) for c in certificates])
        config = msgspec.structs.replace(self.config, certificates=certificates)
        self.state = State(config, self.layout)

    async def clear(self, actions: Iterable[Action]) -> None:
        """Carry out what belongs to no route; what is refused is only logged."""
        some = tuple(actions)
        try:
            if some:
                await self._backend.perform(some)
        except CommandRefusedError as error:
            if len(some) == 1:
                logger.error("what belongs to no route can't be cleared away: %s", error)
                return
            for action in some:
                await self.clear([action])

    async def sweep(self) -> bool:
        """Let some slots serve again whose last stream has ended; returns whether there are any."""
        idle = await self._backend.idle(tuple(islice(self._resting, _SWEPT_AT_ONCE)))
        await self.clear(action for backend in idle for action in self._resting[backend])
        extra = [backend for backend in idle if self.layout.is_extra(backend)]
        await self.clear(DropBackend(backend) for backend in extra)
        layout = self.layout
        for backend in idle:
            del self._resting[backend]
            layout = layout.give_back(backend)
        self.state = State(self.config, layout)
        # Those that are busy come last next time.
        for backend in tuple(islice(self._resting, _SWEPT_AT_ONCE - len(idle))):
            self._resting[backend] = self._resting.pop(backend)
        return bool(idle)

    async def prepare(
        self,
        wanted: CompiledConfig,
        deferred: Sequence[RouteChange],
        reasons: tuple[ReloadReason, ...],
        hot: frozenset[str] = frozenset(),
    ) -> Preparation:
        """Have a reload ready, with the frontends and certificates of `wanted` and these routes.

        Changes nothing that runs, so `take` may go on meanwhile. Pools of `hot` profiles that are
        in use grow faster. Routes that HAProxy refuses are found, by checks alone, and left out.
        """

        def state_with(chosen: Iterable[RouteKey]) -> State:
            keys = set(chosen)
            changes = [change for change in deferred if change.key in keys]
            config = _loading(self.config, wanted, changes)
            return State(config, lay_out(self.layout, changes, self._policy, hot))

        async def check(chosen: Sequence[RouteKey]) -> None:
            await self._backend.check(state_with(chosen), self._changed(chosen))

        keys = [change.key for change in deferred]
        refused: Mapping[RouteKey, str] = {}
        try:
            prepared = await self._backend.prepare(state_with(keys), self._changed(keys))
        except (ConfigRejectedError, TemplateError) as error:
            if not keys:
                raise
            refused = await isolate(keys, check, error)
            accepted = [key for key in keys if key not in refused]
            if not accepted and only_routes(reasons):
                return Preparation(None, (), refused, reasons)
            prepared = await self._backend.prepare(state_with(accepted), self._changed(accepted))
        changes = tuple(change for change in deferred if change.key not in refused)
        return Preparation(prepared, changes, refused, reasons)

    async def discard(self, preparation: Preparation) -> None:
        """The reload isn't wanted any more."""
        if preparation.prepared is not None:
            await self._backend.discard(preparation.prepared)

    async def load(
        self, preparation: Preparation, changes: Sequence[RouteChange]
    ) -> Mapping[RouteKey, str]:
        """Carry out a prepared reload, with those of its changes that are still wanted.

        Whatever was taken at run time since is part of it. Returns routes that HAProxy refuses.
        """
        prepared = preparation.prepared
        if prepared is None:
            return {}

        async def load(chosen: Sequence[RouteKey], ready: Prepared | None = None) -> None:
            keys = set(chosen)
            some = [change for change in changes if change.key in keys]
            config = _loading(self.config, prepared.state.config, some)
            layout = lay_out_within(self.layout, some, prepared.state.layout) if ready else None
            if layout is None:
                if ready is not None:
                    await self._backend.discard(ready)
                ready, layout = None, lay_out(self.layout, some, self._policy)
            state = State(config, layout)
            logger.info("reloading HAProxy: %s", ", ".join(preparation.reasons))
            await self._backend.reload(state, preparation.reasons, ready, self._changed(differing))
            self._moved(some)
            self.state, self.known = state, True
            self._resting.clear()

        keys = [change.key for change in changes]
        differing = frozenset(change.key for change in preparation.changes)
        try:
            await load(keys, prepared)
        except (ConfigRejectedError, TemplateError) as error:
            # The check takes what the reload doesn't.
            if not keys or not self.layout.pools:
                # Of a HAProxy of which nothing is known, less than everything would cut it.
                raise
            return await isolate(keys, load, error)
        return {}

    def _changed(self, keys: Collection[RouteKey]) -> Collection[RouteKey] | None:
        """The routes that differ from what is persisted, as far as that is known."""
        return keys if self.known else None

    def _become(self, state: State) -> None:
        self.state = state
        self._routing.clear()
        self.checks = 0
        for route in state.config.routes.values():
            self._count(route, 1)

    def _moved(self, changes: Iterable[RouteSteps | RouteChange]) -> None:
        """These are about to become what runs."""
        for change in changes:
            self._count(self.config.routes.get(change.key), -1)
            self._count(change.new, 1)

    def _count(self, route: CompiledRoute | None, by: int) -> None:
        if route is None:
            return
        self.checks += by * route.checks
        for name, _ in route.routing:
            self._routing[name] += by

    def _keep_resting(self) -> None:
        self._resting = {b: self._resting.get(b, ()) for b in self.layout.resting()}


def _loading(
    runs: CompiledConfig, wanted: CompiledConfig, changes: Iterable[RouteChange]
) -> CompiledConfig:
    return msgspec.structs.replace(
        runs, frontends=wanted.frontends, certificates=wanted.certificates
    ).with_routes({change.key: change.new for change in changes})


def _shape(layout: Layout) -> tuple[object, ...]:
    """What of a layout an observation shows."""
    return layout.slots, {i: (pool.size, pool.extra) for i, pool in layout.pools.items()}


def only_routes(reasons: Iterable[ReloadReason]) -> bool:
    """Whether nothing but routes is to be loaded."""
    return {*reasons} <= {
        ReloadReason.NEW_PROFILE,
        ReloadReason.POOL_EMPTY,
        ReloadReason.RUNTIME_LIMITS,
    }
