"""What was done at run time gets into the files: one write for all that waits, and no reload."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import islice

import msgspec

from frontserver.backends.dataplane.book import Book
from frontserver.backends.dataplane.bundles import Bundles
from frontserver.backends.dataplane.document import Document, Form, Text
from frontserver.backends.dataplane.files import Files, Maps
from frontserver.backends.dataplane.ledger import marker
from frontserver.backends.dataplane.pools_file import MISTAKE, NAME, PoolsFile, choosing, witness
from frontserver.backends.dataplane.takeovers import Takeovers
from frontserver.backends.port import State
from frontserver.beside import beside
from frontserver.dataplane.client import DataPlaneClient
from frontserver.dataplane.errors import (
    AbsentError,
    ReloadFailedError,
    RuntimeActionError,
    VersionConflictError,
)
from frontserver.errors import ConfigRejectedError, FrontServerError, ProxyUnavailableError
from frontserver.planning.compiled import MAPS, Certificate, CompiledConfig
from frontserver.planning.running import materialise

logger = logging.getLogger(__name__)

_ATTEMPTS = 4
_NEW_WORKER_SECONDS = 5.0
_POLL = 0.02
# Seconds, and up to twice as many, until what runs is loaded once more that HAProxy has refused to:
# while it tries to bind, for 2 s, it refuses new connections.
_REFUSED_SECONDS = 30.0
# Weights that one write sets: they are in one header, and all headers must be below 1 MiB.
_WEIGHTS_AT_ONCE = 2000

_NO_MAPS: Maps = {name: {} for name in MAPS}


class Writer:
    """Writes configurations and maps, one write at a time; what runs can be changed meanwhile.

    `state` is what runs and `label` the configuration that HAProxy has loaded. `on_disk` are the
    backends that a route may occupy in what is written. `pools` is the pools file, and
    `reads_pools` whether HAProxy has read it.
    """

    def __init__(
        self,
        client: DataPlaneClient,
        document: Document,
        files: Files,
        book: Book,
        *,
        compose: Callable[[str, Text], str] | None = None,
    ) -> None:
        """`compose` makes the whole text of what the API has and of ours; else ours is all."""
        self.state: State | None = None
        self.label: str | None = None
        self.on_disk: frozenset[str] = frozenset()
        self.pools = PoolsFile(client)
        self.reads_pools = False
        # Whether the API's check takes it in; `None` while that isn't known.
        self._judges_pools: bool | None = None
        self._client = client
        self._document = document
        self._files = files
        self._bundles = Bundles(files)
        self._book = book
        self._takeovers = Takeovers(client, book)
        self._compose = compose
        self._version: int | None = None
        self._written: Text | None = None
        # As HAProxy loaded them last, and as they were written last: the API may put back the
        # configuration of that moment, and what it chooses from the pools file is of this one.
        self._loaded: Maps = _NO_MAPS
        self._flushed: Maps = _NO_MAPS
        # How often it was said that files may be others.
        self._doubts = 0
        self._behind = False
        # Set where memory, disk and process may disagree; only a reload brings them together.
        self._apart: str | None = None
        # The monotonic second from which it may be tried again, where HAProxy has refused that.
        self._mend_at: float | None = None
        self._lock = asyncio.Lock()

    @property
    def is_behind(self) -> bool:
        """Whether the files say less than HAProxy runs, as far as that is known."""
        if self.state is None or self.label is None:
            return False
        return self._behind or self._takeovers.waiting or bool(self._book.weights)

    @property
    def version(self) -> int | None:
        """The version that the API has since the last write; `None` while that isn't known."""
        return None if self._lock.locked() else self._version

    @property
    def may_mend(self) -> bool:
        """Whether memory, disk and process may disagree, and `mend` would do something about it."""
        known = self.state is not None and self.label is not None
        return self._apart is not None and known and not self._waits

    @property
    def _waits(self) -> bool:
        if self._apart is None or self._mend_at is None:
            return False
        return time.monotonic() < self._mend_at

    def follow(self, state: State) -> None:
        """This runs by now."""
        self.state = state
        self._behind = True

    def doubt(self, state: State, label: str) -> None:
        """This was found running, and any file may differ."""
        self.state, self.label = state, label
        self._behind = True
        self._forget_files()
        self._takeovers.forget()

    async def came_back(self) -> None:
        """The API was away, or we were: it may have another file, and check in another way."""
        self._judges_pools = None
        await self._bundles.begin()
        if self._compose is None:
            await self.pools.look()
        self.edited()

    def edited(self) -> None:
        """Somebody else may have changed the file that is ours."""
        if self.state is not None:
            self._behind = True
        self._forget_files()

    def _forget_files(self) -> None:
        self._doubts += 1
        self._written = self._version = None
        self._files.forget()
        self.pools.forget()

    async def flush(self) -> int:
        """Write what is behind; returns the bytes written.

        Raises `ProxyUnavailableError`, `ConfigRejectedError`, `DataPlaneError`, `TemplateError`.
        """
        async with self._lock:
            return await self._flush()

    async def weigh(self) -> None:
        """Have weights set, as many as can be; raises as `flush` does.

        While nothing can be written because HAProxy refuses what it runs, they wait as files do.
        """
        waiting = len(self._book.weights)
        while waiting and not self._waits:
            await self.flush()
            before, waiting = waiting, len(self._book.weights)
            if waiting >= before:
                return

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Write nothing inside the block, and put no server in service."""
        async with self._lock:
            yield

    @asynccontextmanager
    async def renewing(self, certificate: Certificate) -> AsyncIterator[None]:
        """HAProxy is given this certificate inside the block, for the one of its name.

        Nothing is written meanwhile: that could be the older one.
        """
        async with self._lock:
            try:
                with self._files.renewing(certificate):
                    yield
            except BaseException:
                # The API may have stored it all the same.
                self._behind = True
                raise
            if self.state is not None:
                self.state = self.state.with_certificate(certificate)

    async def _flush(self) -> int:
        state, label = self.state, self.label
        if state is None or label is None or not self.is_behind:
            return 0
        if self._apart is not None:
            # What brings them together is a reload, and mustn't meet changes at run time.
            raise ProxyUnavailableError(self._apart)
        self._behind = False
        try:
            return await self._write(state, label)
        except BaseException:
            self._behind = True
            raise

    async def _write(self, state: State, label: str) -> int:
        due = self._takeovers.due(state)
        weights = dict(islice(self._book.weights.items(), _WEIGHTS_AT_ONCE))
        actions = [f"SetServerWeight {b} {name} {w}" for (b, name), w in weights.items()]
        actions += self._takeovers.actions(due)
        maps = {name: dict(content) for name, content in self._book.maps.items()}
        text = await self._text(state, label)
        await self._files.put_certificates(state.config)
        await self._files.drop_entries(maps)
        occupied = frozenset(state.layout.slots.values())
        self.on_disk |= occupied
        written, all_acted = await self._put(text, actions)
        written += await self._files.put_maps(maps)
        self._flushed = maps
        self.on_disk = occupied
        await self._bundles.tidy(state.config, (self.state or state).config)
        await self._weighed(weights, all_acted=all_acted)
        await self._takeovers.carry_out(due, all_acted=all_acted)
        return written

    async def _weighed(self, weights: Mapping[tuple[str, str], int], *, all_acted: bool) -> None:
        """These weights are set, if no runtime action failed; else those that can be wait."""
        for (backend, name), weight in weights.items():
            if self._book.weights.get((backend, name)) != weight:
                continue
            if all_acted or not await self._is_there(backend, name):
                del self._book.weights[backend, name]

    async def _is_there(self, backend: str, name: str) -> bool:
        try:
            return any(s.name == name for s in await self._client.runtime.servers(backend))
        except AbsentError:
            return False

    # --- reloads ---

    def part(self, reason: str) -> None:
        """Memory, disk and process were seen to disagree."""
        if self._apart is None:
            self._apart = reason

    async def mend(self) -> bool:
        """If memory, disk and process disagree, load what runs; returns whether that was done.

        If HAProxy refuses it, only the files wait, and it isn't tried again for a while. Raises
        `ProxyUnavailableError`. Nothing else may change HAProxy meanwhile.
        """
        if self.state is None or self.label is None or not self.may_mend:
            return False
        async with self._lock:
            logger.warning("%s; HAProxy is given anew what it runs", self._apart)
            return await self._put_back(self.state, self.label)

    def require_loadable(self) -> None:
        """Raise `ConfigRejectedError` if HAProxy has refused what it runs just now.

        It would refuse whatever is made of that too.
        """
        if self._apart is not None and self._waits:
            raise ConfigRejectedError(self._apart)

    async def provide(self, config: CompiledConfig) -> None:
        """Store what a configuration refers to, which may be older than what is served by now."""
        served = {c.name for c in self.state.config.certificates} if self.state else set()
        fresh = tuple(c for c in config.certificates if c.name not in served)
        await self._files.put_certificates(msgspec.structs.replace(config, certificates=fresh))

    async def validate(self, state: State, label: str) -> None:
        """Ask whether HAProxy would load this; what it refers to is stored already.

        Raises `ConfigRejectedError`.
        """
        # In one text: what is refused mustn't get into a file that HAProxy may start from.
        form = Form.ALONE if self.pools.is_stored else Form.WHOLE
        text = await beside(self._document.text, state, label, form)
        await self._client.configuration.validate_raw(await self._whole(text))

    async def _text(self, state: State, label: str) -> Text:
        form = await self._form()
        return await beside(self._document.text, state, label, form)

    async def _form(self) -> Form:
        if not self.pools.is_stored:
            return Form.WHOLE
        if not self.reads_pools:
            return Form.TRIAL
        if self._judges_pools is None:
            self._judges_pools = await self._sees_mistakes()
        return Form.SPLIT if self._judges_pools else Form.TRIAL

    async def _sees_mistakes(self) -> bool | None:
        """Whether the API refuses a configuration for what the pools file says.

        `None` if it refuses it for something else.
        """
        await self.pools.put(MISTAKE, f"{MISTAKE}\n", alone=False, running=self.label)
        try:
            await self._client.configuration.validate_raw(choosing(MISTAKE))
        except ConfigRejectedError as error:
            return True if MISTAKE in str(error) else None
        logger.warning(
            "HAProxy reads %s, but the Data Plane API checks without it; "
            "name it in validate_files_after to have routes written there",
            NAME,
        )
        return False

    async def _see_pools(self, label: str) -> None:
        """See whether HAProxy has read the pools file with this configuration."""
        if not self.pools.is_stored:
            return
        self.reads_pools = await self._client.runtime.has_backend(witness(label))
        if not self.reads_pools:
            self._judges_pools = None
            logger.warning(
                "the Data Plane API stores %s, but HAProxy doesn't read it; "
                "name it as the last file to have routes written there",
                NAME,
            )

    async def _whole(self, text: Text) -> str:
        if self._compose is None:
            return text.sections
        return self._compose((await self._client.configuration.raw()).text, text)

    async def load(self, state: State, label: str) -> None:
        """Load a configuration and wait until it runs; to be called while `held`.

        Raises `ConfigRejectedError`: what ran before still runs, and the files describe that.
        """
        try:
            await self._bring_in(state, label)
        except ReloadFailedError:
            await self._after_failed_reload()
            raise
        self.state, self.label = state, label

    async def _after_failed_reload(self) -> None:
        """Memory, disk and process disagree: what runs is loaded anew, if that has a chance."""
        if self._mend_at is not None:
            # That was refused too, and not mended since.
            self._put_off()
        elif self.state is not None and self.label is not None:
            try:
                await self._put_back(self.state, self.label)
            except FrontServerError as error:
                logger.error("the Data Plane API couldn't be given what runs: %s", error)

    async def _put_back(self, state: State, label: str) -> bool:
        """Load what runs anew; false if HAProxy refuses even that."""
        try:
            await self._bring_in(state, label)
        except ConfigRejectedError as error:
            logger.error("HAProxy refuses what it runs, so its files wait: %s", error)
            self._put_off()
            return False
        return True

    def _put_off(self) -> None:
        self._mend_at = time.monotonic() + _REFUSED_SECONDS * random.uniform(1.0, 2.0)  # noqa: S311

    async def _bring_in(self, state: State, label: str) -> None:
        """Have HAProxy load this: first the configuration is written, then entries lead there."""
        maps = materialise(state.config, state.layout).maps
        # Without HAProxy the API would put an older file back.
        await self._client.runtime.info()
        self._behind, self._written = True, None
        await self._files.put_certificates(state.config)
        text = await self._text(state, label)
        await self._files.drop_entries(maps)
        await self._put(text)
        try:
            await self._files.load_maps(maps)
            await self._wait_for(label)
            await self._see_pools(label)
        except FrontServerError as error:
            self._apart = _why_apart(error)
            self._written = self._version = None
            # By now the file may be the one that was loaded last, with others on the same slots.
            with suppress(FrontServerError):
                await self._files.drop_entries(maps, self._loaded, self._flushed)
            raise
        self._loaded = self._flushed = maps
        self._apart = self._mend_at = None
        # Another worker: whatever was at run time only is as it is in the files.
        self._book.loaded(state)
        self._takeovers.forget()
        self.on_disk = frozenset(state.layout.slots.values())
        self._behind = self._written is None
        await self._bundles.loaded(state.config)

    async def _wait_for(self, label: str) -> None:
        deadline = asyncio.get_running_loop().time() + _NEW_WORKER_SECONDS
        while not await self._client.runtime.has_backend(marker(label)):
            if asyncio.get_running_loop().time() > deadline:
                # Perhaps it was started without the pools file meanwhile.
                self.reads_pools, self._judges_pools = False, None
                raise ProxyUnavailableError(
                    "HAProxy was reloaded, but another configuration answers"
                )
            await asyncio.sleep(_POLL)

    async def _put(self, text: Text, actions: Sequence[str] = ()) -> tuple[int, bool]:
        """Write what of a text isn't written yet.

        Returns the bytes written, and whether all runtime actions were carried out.
        """
        doubts, before, all_acted = self._doubts, self._written, True
        # Else the API's file may choose another block of the pools file, until it is written.
        is_there = before is not None and before[:2] == text[:2]
        size = await self._put_block(text, alone=is_there)
        if actions or not is_there:
            all_acted = await self._replace(text, actions)
            size += len(text.sections)
        if doubts == self._doubts:
            self._written = text
        else:
            self._version, self._behind = None, True
        return size, all_acted

    async def _put_block(self, text: Text, *, alone: bool) -> int:
        if text.block is None:
            return 0
        return await self.pools.put(*text.block, alone=alone, running=self.label)

    async def _replace(self, text: Text, actions: Sequence[str]) -> bool:
        """Post a text; if the configuration is of another version by now, on top of that.

        Returns whether all runtime actions were carried out.
        """
        configuration = self._client.configuration
        self._written = None
        for attempt in range(_ATTEMPTS):
            # Before the text: what somebody else writes after this is noticed by its version.
            version, self._version = self._version, None
            if version is None or self._compose is not None:
                version = await configuration.version()
            whole = await self._whole(text)
            try:
                self._version = await configuration.replace_raw(
                    whole, version=version, reload=False, actions=actions
                )
            except VersionConflictError:
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            except RuntimeActionError as error:
                logger.warning("the configuration is written, but not all is done: %s", error)
                self._version = await configuration.version()
                return False
            return True
        raise AssertionError("unreachable")


def _why_apart(error: FrontServerError) -> str | None:
    if isinstance(error, ReloadFailedError):
        return error.reason
    if isinstance(error, ProxyUnavailableError):
        return f"the outcome of a reload isn't known ({error.message})"
    return None  # It was never begun: what runs is written once more.
