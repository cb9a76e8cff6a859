"""The Data Plane API backend's port: what the reconciler sees of it."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence

from frontserver.backends.dataplane.book import Book
from frontserver.backends.dataplane.document import Document, Text
from frontserver.backends.dataplane.files import Files
from frontserver.backends.dataplane.idleness import Idleness
from frontserver.backends.dataplane.ledger import Ledger
from frontserver.backends.dataplane.observer import Observer
from frontserver.backends.dataplane.performer import Performer
from frontserver.backends.dataplane.places import DataPlaneDialect
from frontserver.backends.dataplane.transactions import DeadTransactions
from frontserver.backends.dataplane.writer import Writer
from frontserver.backends.flushing import Flushing
from frontserver.backends.manifest import Manifest
from frontserver.backends.port import Leftovers, Look, Prepared, State
from frontserver.dataplane.client import DataPlaneClient
from frontserver.dataplane.material import PAYLOAD_BYTES
from frontserver.errors import (
    ProxyError,
    ProxyUnavailableError,
)
from frontserver.model.measurements import Measurements, Unmeasured
from frontserver.model.routes import RouteKey
from frontserver.planning.actions import Action, PutCertificate
from frontserver.planning.limits import RuntimeLimits
from frontserver.planning.plan import ReloadReason, RouteSteps
from frontserver.planning.running import Running
from frontserver.rendering.render import Renderer

logger = logging.getLogger(__name__)

# Seconds between two looks at HAProxy's process.
_WATCH_SECONDS = 1.0
# How long at most changes are gathered for one write: it takes that long and longer.
_GATHERING = 1.0

DATAPLANE_LIMITS = RuntimeLimits(
    cookies=False,
    checks=False,
    # The API fails when it reads back what has one of the two words alone between commas.
    unsayable=re.compile(r";|<<|, *(?:key|value) *,"),
    unsayable_keys=re.compile(r'[\\<>*;$#&{}"]'),
    longest_certificate=PAYLOAD_BYTES,
)


class DataPlaneBackend:
    """Drives a HAProxy through its Data Plane API. `ledger` remembers what it was given.

    `compose` makes the text of the whole configuration file of what the API has, and of ours;
    without it, ours is the whole.
    """

    def __init__(
        self,
        *,
        client: DataPlaneClient,
        renderer: Renderer,
        ledger: Ledger,
        measurements: Measurements | None = None,
        compose: Callable[[str, Text], str] | None = None,
    ) -> None:
        self._client = client
        self._renderer = renderer
        self._ledger = ledger
        self._book = Book()
        self._files = Files(client)
        self._performer = Performer(client, self._book)
        self._observer = Observer(client, ledger, self._book)
        self._writer = Writer(client, Document(renderer), self._files, self._book, compose=compose)
        self._idleness = Idleness(client, self._performer, self._book, self._writer.held)
        self._listeners: list[Callable[[], None]] = []
        self._flushing = Flushing(
            self._writer, measurements or Unmeasured(), self._make_untidy, longest=_GATHERING
        )
        self._watching: asyncio.Task[None] | None = None
        self._switching = False
        self._shared = compose is not None
        self._dead = DeadTransactions(client)
        self._untidy = False

    # --- what is known ---

    @property
    def version(self) -> str | None:
        return self._observer.version

    @property
    def limits(self) -> RuntimeLimits:
        return DATAPLANE_LIMITS

    @property
    def most_checks(self) -> int | None:
        return None  # The API doesn't tell how many files HAProxy may open.

    @property
    def growing(self) -> frozenset[str]:
        return frozenset()

    @property
    def anything_leaves(self) -> bool:
        return bool(self._book.leaving)

    @property
    def disk_behind(self) -> float:
        return self._flushing.behind

    @property
    def disk_problem(self) -> str | None:
        return self._flushing.problem

    async def leftovers(self) -> Leftovers:
        return Leftovers()

    def on_change(self, callback: Callable[[], None]) -> None:
        self._listeners.append(callback)

    # --- starting and observing ---

    async def start(self, empty: State) -> None:
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        # First: without HAProxy, nothing that the API says of it can be believed.
        await self._client.runtime.info()
        await self._delete_dead()
        self._files.forget()
        await self._files.prepare()
        await self._files.put_certificates(empty.config)
        self._use_places()
        await self._writer.came_back()

    def _use_places(self) -> None:
        self._performer.places = self._files.places
        self._renderer.dialect = DataPlaneDialect(self._files.places)

    async def _watch(self) -> None:
        """Notice that HAProxy was replaced, or has gone."""
        there = True
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            before = self._writer.version
            try:
                info = await self._client.runtime.info()
                changed = self._observer.worker not in (None, info.pid)
                back, there = not there, True
                if before is not None and before == self._writer.version:
                    self._see_version(info.configuration, before)
                if self._untidy or self._dead.due:
                    await self._delete_dead()
            except ProxyError:
                changed, there, back = there, False, False
            except Exception:
                logger.exception("HAProxy couldn't be looked at")
                continue
            due = there and self._writer.may_mend
            if (changed or back or due) and not self._switching:
                self._changed()
            if there:
                await self._look_for_edits()

    async def _look_for_edits(self) -> None:
        try:
            if await self._writer.pools.was_edited():
                self._write_anew()
        except ProxyError as error:
            logger.info("the pools file couldn't be looked at: %s", error)

    def _changed(self) -> None:
        for listener in self._listeners:
            listener()

    def _see_version(self, version: int | None, ours: int) -> None:
        """Notice that somebody else has changed the file that is ours alone."""
        if version not in (None, ours) and not self._shared:
            self._write_anew()

    def _write_anew(self) -> None:
        logger.warning("somebody has changed the front server's file; it is written anew")
        self._writer.edited()
        self._flushing.soon()

    async def observe(self) -> Running:
        async with self._writer.held():
            await self._compare_versions()
        if await self._writer.mend():
            self._idleness.forget_all()
        # What is seen must be of one moment: a write puts servers in service.
        async with self._writer.held():
            running = await self._observer.observe()
            self._writer.reads_pools = self._observer.reads_pools
            if self._observer.label is not None:
                self._writer.label = self._observer.label
                self._flushing.soon()
        return running

    async def _compare_versions(self) -> None:
        """Look whether the API's memory and its file are of different versions.

        So it is after a failed reload: its memory still has what HAProxy refused.
        """
        raw = await self._client.configuration.raw()
        if raw.version_on_disk not in (None, raw.version):
            self._writer.part(
                f"the Data Plane API holds version {raw.version}, "
                f"its file version {raw.version_on_disk}"
            )

    async def look(self, backends: Mapping[str, Sequence[tuple[str, str]]]) -> Look:
        return await self._observer.look(backends)

    # --- runtime ---

    async def apply(self, steps: Sequence[RouteSteps]) -> Mapping[RouteKey, str]:
        if await self._writer.mend():
            self._idleness.forget_all()
            raise ProxyUnavailableError(
                "HAProxy was given anew what it runs; it is looked at again"
            )
        with self._flushing.coming():
            failed = await self._performer.take(steps)
        self._idleness.forget(step.slot for step in steps if step.slot is not None)
        return failed

    async def perform(self, actions: Sequence[Action]) -> None:
        try:
            for action in actions:
                if isinstance(action, PutCertificate):
                    async with self._writer.renewing(action.certificate):
                        await self._performer.perform([action])
                else:
                    await self._performer.perform([action])
        finally:
            self._flushing.soon()

    async def idle(self, backends: Sequence[str]) -> frozenset[str]:
        # Disk must not know two routes on one slot.
        vacated = [backend for backend in backends if backend not in self._writer.on_disk]
        return self._idleness.idle(vacated)

    # --- disk ---

    async def persist(self, state: State, steps: Sequence[RouteSteps] | None) -> None:
        if steps is None:
            if self._observer.label is not None:
                self._book.expect(state)
                self._writer.doubt(state, self._observer.label)
            if self._writer.may_mend:
                # By now it is known what runs, so that it can be given to HAProxy anew.
                self._changed()
        else:
            self._writer.follow(state)
        if steps:
            # A weight is set by a write, and counts from then.
            await self._writer.weigh()
        self._flushing.soon()

    def _make_untidy(self) -> None:
        """Failed writes have left something behind."""
        self._untidy = True

    async def _delete_dead(self) -> None:
        """Whatever failed writes left behind may go."""
        async with self._writer.held():
            await self._dead.delete()
        self._untidy = False

    # --- reloads ---

    async def check(self, state: State, changed: Collection[RouteKey] | None = None) -> None:
        del changed  # The API checks a whole file.
        with self._files.needed(state.config):
            await self._writer.provide(state.config)
            self._use_places()
            await self._writer.validate(state, Manifest.of(state).label("000000"))

    async def prepare(self, state: State, changed: Collection[RouteKey] | None = None) -> Prepared:
        await self.check(state, changed)
        return Prepared(state, "")

    async def discard(self, prepared: Prepared) -> None:
        del prepared  # Nothing was kept of it.

    async def reload(
        self,
        state: State,
        reasons: Sequence[ReloadReason],
        prepared: Prepared | None = None,
        changed: Collection[RouteKey] | None = None,
    ) -> None:
        if prepared is None:
            # Perhaps a search for the route that was refused: it can't find any.
            self._writer.require_loadable()
            await self.check(state, changed)
        label = await asyncio.to_thread(
            self._ledger.add,
            Manifest.of(state),
            running=self._writer.label,
            seen=self._observer.labels,
        )
        self._switching = True
        try:
            async with self._writer.held():
                await self._writer.load(state, label)
            await self._observer.runs(label)
        finally:
            self._switching = False
            self._idleness.forget_all()
            if self._writer.may_mend:
                self._changed()
            self._flushing.soon()
        self._flushing.caught_up()
        logger.info("HAProxy runs configuration %s (%s)", label, ", ".join(reasons))

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        await self._idleness.close()
        await self._flushing.close()
        await self._client.close()
