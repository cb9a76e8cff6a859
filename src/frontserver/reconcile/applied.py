"""What one HAProxy runs, as far as is known, and how it is taken to something else."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from frontserver.backends.port import Backend, State
from frontserver.errors import CommandRefusedError, ConfigRejectedError, TemplateError
from frontserver.model.routes import RouteKey
from frontserver.planning.actions import Action, PutCertificate
from frontserver.planning.compiled import Certificate, CompiledConfig
from frontserver.planning.diff import RouteChange
from frontserver.planning.layout import Layout, PoolPolicy
from frontserver.planning.plan import Plan, ReloadReason, RouteSteps, lay_out
from frontserver.planning.running import Adopted
from frontserver.reconcile.isolation import Try, isolate

logger = logging.getLogger(__name__)


class Applied:
    """Keeps `state` equal to what was done to HAProxy; nothing else changes HAProxy.

    Everything raises what the backend raises; `state` then holds what was done until there.
    """

    def __init__(self, backend: Backend, policy: PoolPolicy, config: CompiledConfig) -> None:
        self.state = State(config, Layout())
        self._backend = backend
        self._policy = policy
        self._resting: dict[str, tuple[Action, ...]] = {}

    @property
    def config(self) -> CompiledConfig:
        return self.state.config

    @property
    def layout(self) -> Layout:
        return self.state.layout

    @property
    def anything_rests(self) -> bool:
        """Whether `sweep` has something to look at."""
        return bool(self._resting)

    async def adopted(self, found: Adopted, *, known: bool) -> None:
        """HAProxy turned out to run this. `known` is whether it is one of our configurations."""
        self.state = State(found.config, found.layout)
        self._keep_resting()
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
        for action in actions:
            try:
                await self._backend.perform((action,))
            except CommandRefusedError as error:
                logger.error("what belongs to no route can't be cleared away: %s", error)

    async def sweep(self) -> None:
        """Let slots serve again whose last stream has ended."""
        idle = await self._backend.idle(tuple(self._resting))
        for backend in sorted(idle & self._resting.keys()):
            await self.clear(self._resting[backend])
            del self._resting[backend]
            self.state = State(self.config, self.layout.give_back(backend))

    async def reload(
        self,
        wanted: CompiledConfig,
        deferred: Sequence[RouteChange],
        reasons: Sequence[ReloadReason],
    ) -> Mapping[RouteKey, str]:
        """Load everything anew, with the frontends and certificates of `wanted` and these routes.

        Returns routes that HAProxy refuses; they are found and left out.
        """

        def state_with(chosen: Iterable[RouteKey]) -> State:
            keys = set(chosen)
            changes = [change for change in deferred if change.key in keys]
            config = msgspec.structs.replace(
                self.config, frontends=wanted.frontends, certificates=wanted.certificates
            ).with_routes({change.key: change.new for change in changes})
            return State(config, lay_out(self.layout, changes, self._policy))

        async def check(chosen: Sequence[RouteKey]) -> None:
            await self._backend.check(state_with(chosen))

        async def load(chosen: Sequence[RouteKey]) -> None:
            state = state_with(chosen)
            logger.info("reloading HAProxy: %s", ", ".join(reasons))
            await self._backend.reload(state, reasons)
            self.state = state
            self._resting.clear()

        keys = [change.key for change in deferred]
        try:
            await load(keys)
        except (ConfigRejectedError, TemplateError) as error:
            if not keys:
                raise
            refused = await self._refused_by_check(keys, check)
            if not refused:
                # The check takes what the reload doesn't.
                return await self._refused_by_reload(keys, load, error)
            accepted = [key for key in keys if key not in refused]
            if accepted or not _only_routes(reasons):
                await load(accepted)
            return refused
        return {}

    async def _refused_by_check(
        self, keys: Sequence[RouteKey], check: Try[RouteKey]
    ) -> Mapping[RouteKey, str]:
        """The culprits, without a reload: each would leave an old worker behind."""
        try:
            await check(keys)
        except (ConfigRejectedError, TemplateError) as error:
            return await isolate(keys, check, error)
        return {}

    async def _refused_by_reload(
        self,
        keys: Sequence[RouteKey],
        load: Try[RouteKey],
        error: ConfigRejectedError | TemplateError,
    ) -> Mapping[RouteKey, str]:
        if not self.layout.pools:
            # Nothing is known of what runs: to load less than everything would cut it.
            raise error
        return await isolate(keys, load, error)

    def _keep_resting(self) -> None:
        self._resting = {b: self._resting.get(b, ()) for b in self.layout.resting()}


def _shape(layout: Layout) -> tuple[object, ...]:
    """What of a layout an observation shows."""
    return layout.slots, {profile_id: pool.size for profile_id, pool in layout.pools.items()}


def _only_routes(reasons: Iterable[ReloadReason]) -> bool:
    """Whether nothing but routes is to be loaded."""
    return {*reasons} <= {ReloadReason.NEW_PROFILE, ReloadReason.POOL_EMPTY}
