"""The reload that is under way, and when the next one may begin."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping

import msgspec

from frontserver.backends.port import Leftovers
from frontserver.errors import ConfigRejectedError
from frontserver.model.measurements import Measurements
from frontserver.model.routes import RouteKey
from frontserver.planning.compiled import CompiledConfig
from frontserver.planning.layout import Layout
from frontserver.planning.plan import Plan, ReloadReason
from frontserver.reconcile.applied import Applied, Preparation, only_routes
from frontserver.reconcile.backoff import Backoff

# A pool is hot for so many seconds after it grew.
_HOT_SECONDS = 60.0
# So many old workers are as good as none; each beyond doubles the pause, up to a bound.
_FEW_OLD_WORKERS = 4
_MOST_DOUBLINGS = 8


class Reloads:
    """Prepares one reload at a time beside whatever is done at run time, and carries it out.

    `gap` is the least number of seconds from the end of a reload to the next one's beginning;
    it grows with the old workers that still serve, so that few of them pile up. While they
    hold more than `budget` bytes of memory, none begins. `rejected` is the least pause after
    HAProxy refused to load what its check had accepted, such as a port that is taken: while it
    tries to bind, for 2 s, it refuses new connections to all that runs.
    """

    def __init__(
        self,
        applied: Applied,
        backoff: Backoff,
        *,
        gap: float,
        rejected: float,
        budget: int,
        measurements: Measurements,
        woken: Callable[[], None],
    ) -> None:
        self._applied = applied
        self._backoff = backoff
        self._gap = gap
        self._rejected = rejected
        self._budget = budget
        self._measurements = measurements
        self.leftovers = Leftovers()
        # Why each route of the reload under way, or of the last one, needed it.
        self.why: Mapping[RouteKey, ReloadReason] = {}
        self._reasons: tuple[ReloadReason, ...] = ()
        self._began = 0.0
        self._woken = woken
        self._task: asyncio.Task[Preparation] | None = None
        self._revisions: dict[RouteKey, int] = {}
        self._ended: float | None = None
        self._grown: dict[str, float] = {}

    @property
    def preparing(self) -> bool:
        """Whether a reload is under way."""
        return self._task is not None

    @property
    def prepared(self) -> bool:
        """Whether it only waits to be carried out."""
        return self._task is not None and self._task.done()

    @property
    def problem(self) -> str | None:
        """Why the last one failed, if it did."""
        return self._backoff.problem

    @property
    def remaining(self) -> float:
        """Seconds until another one may begin."""
        if self._backoff.problem is not None:
            return self._backoff.remaining
        if self._ended is None:
            return 0.0
        many = max(0, self.leftovers.count - _FEW_OLD_WORKERS)
        gap = self._gap * 2.0 ** min(many, _MOST_DOUBLINGS)
        return max(0.0, self._ended + gap - time.monotonic())

    async def look(self) -> None:
        """See which old workers still serve."""
        self.leftovers = await self._applied.leftovers()

    @property
    def waits(self) -> str | None:
        """Why the next reload is put off, in a word; `None` if it isn't."""
        if self._backoff.problem is not None:
            return "failed"
        if self.over_budget:
            return "old-workers"
        return "pause" if self.remaining else None

    @property
    def over_budget(self) -> str | None:
        """Why no reload may begin whatever the time: what old workers hold, if it is too much."""
        held = self.leftovers
        if held.memory <= self._budget:
            return None
        return f"{held.count} old workers hold {held.memory >> 20} MiB of memory"

    @property
    def hot(self) -> frozenset[str]:
        """The profiles whose pools were filled only a while ago."""
        now = time.monotonic()
        return frozenset(p for p, at in self._grown.items() if now - at < _HOT_SECONDS)

    def settled(self) -> None:
        """No reload is wanted any more: whatever was wrong with the last one is over."""
        if self._task is None:
            self._backoff.succeeded()

    def forgive(self) -> None:
        """Something else is wanted: what was wrong with the last reload says nothing of it."""
        self._backoff.succeeded()

    def begin(
        self,
        wanted: CompiledConfig,
        planned: Plan,
        reasons: tuple[ReloadReason, ...],
        revisions: Mapping[RouteKey, int],
    ) -> None:
        """Prepare a reload in the background; `woken` is called when that is done."""
        self._revisions = dict(revisions)
        self.why, self._reasons = planned.why, reasons
        self._began = time.monotonic()
        preparing = self._applied.prepare(wanted, planned.deferred, reasons, self.hot)
        self._task = asyncio.create_task(preparing)
        self._task.add_done_callback(lambda _: self._woken())

    async def wait(self) -> None:
        """Until the reload that is under way is prepared, or can't be."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def finish(
        self, wanted: CompiledConfig, revision_of: Callable[[RouteKey], int]
    ) -> tuple[frozenset[RouteKey], Mapping[RouteKey, str]]:
        """Carry out the reload that is prepared, without routes that were changed meanwhile.

        Returns the routes that were dealt with, and those of them that HAProxy refuses. Raises
        what preparing or reloading raised; `keys` then are to be tried again.
        """
        task, self._task = self._task, None
        if task is None:
            return frozenset(), {}
        loading = False
        try:
            preparation = task.result()
            if _is_stale(preparation, wanted):
                await self._applied.discard(preparation)
                return frozenset(), {}
            settled = frozenset(k for k, at in self._revisions.items() if revision_of(k) == at)
            changes = [
                change
                for change in preparation.changes
                if change.key in settled and wanted.routes.get(change.key) == change.new
            ]
            if not changes and only_routes(preparation.reasons):
                # Nobody waits for it any more.
                await self._applied.discard(preparation)
                preparation = msgspec.structs.replace(preparation, prepared=None)
            before = self._applied.layout
            loading = True
            refused = await self._applied.load(preparation, changes)
        except Exception as error:
            costly = loading and isinstance(error, ConfigRejectedError)
            self._backoff.failed(str(error), at_least=self._rejected if costly else 0.0)
            self._measurements.reload_failed(self._reasons, time.monotonic() - self._began)
            raise
        self._backoff.succeeded()
        if preparation.prepared is not None:
            self._note_growth(before)
            self._measurements.reloaded(self._reasons, time.monotonic() - self._began)
        found = {key: why for key, why in preparation.refused.items() if key in settled}
        return frozenset(c.key for c in changes) | found.keys(), {**found, **refused}

    @property
    def keys(self) -> frozenset[RouteKey]:
        """The routes that the reload under way, or the last one, was to bring in."""
        return frozenset(self._revisions)

    async def abandon(self) -> frozenset[RouteKey]:
        """Give up the reload that is under way; returns the routes that it was to bring in."""
        task, self._task = self._task, None
        if task is None:
            return frozenset()
        task.cancel()
        await asyncio.wait({task})
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self._applied.discard(task.result())
        return self.keys

    def _note_growth(self, before: Layout) -> None:
        self._ended = now = time.monotonic()
        for profile_id, pool in self._applied.layout.pools.items():
            had = before.pools.get(profile_id)
            if had is None or had.size < pool.size:
                self._grown[profile_id] = now
        self._grown = {p: at for p, at in self._grown.items() if p in self._applied.layout.pools}


def _is_stale(preparation: Preparation, wanted: CompiledConfig) -> bool:
    """Whether something else is wanted by now than what was prepared, routes aside."""
    if preparation.prepared is None:
        return False
    config = preparation.prepared.state.config
    return (config.frontends, config.certificates) != (wanted.frontends, wanted.certificates)
