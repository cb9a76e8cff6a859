"""What was done at run time gets into the files: one write for all that waits, and no reload."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from frontserver.backends.dataplane.book import Book
from frontserver.backends.dataplane.document import Document
from frontserver.backends.dataplane.files import Files
from frontserver.backends.dataplane.ledger import marker
from frontserver.backends.dataplane.servers import PREPARED, takeover
from frontserver.backends.port import State
from frontserver.dataplane.client import DataPlaneClient
from frontserver.dataplane.errors import (
    AbsentError,
    OutcomeUnknownError,
    ReloadFailedError,
    RuntimeActionError,
    VersionConflictError,
)
from frontserver.errors import ConfigRejectedError, ProxyUnavailableError
from frontserver.planning.compiled import Server

logger = logging.getLogger(__name__)

# Slots whose prepared server is put in service by one write.
_TAKEOVERS = 500
_ATTEMPTS = 4
_NEW_WORKER_SECONDS = 5.0
_POLL = 0.02


class Writer:
    """Writes configurations and maps, one write at a time; what runs can be changed meanwhile.

    `state` is what runs and `label` the configuration that HAProxy has loaded. `on_disk` are the
    backends that a route occupies in what was written last.
    """

    def __init__(
        self,
        client: DataPlaneClient,
        document: Document,
        files: Files,
        book: Book,
        *,
        compose: Callable[[str, str], str] | None = None,
    ) -> None:
        """`compose` makes the whole text of what the API has and of ours; else ours is all."""
        self.state: State | None = None
        self.label: str | None = None
        self.on_disk: frozenset[str] = frozenset()
        self._client = client
        self._document = document
        self._files = files
        self._book = book
        self._compose = compose
        self._version: int | None = None
        self._written: str | None = None
        self._behind = False
        # Set where memory, disk and process may disagree; only a reload brings them together.
        self._apart: str | None = None
        self._lock = asyncio.Lock()

    @property
    def is_behind(self) -> bool:
        """Whether the files say less than HAProxy runs."""
        return self._behind or bool(self._book.waiting or self._book.weights)

    @property
    def is_apart(self) -> bool:
        """Whether memory, disk and process may disagree."""
        return self._apart is not None

    def follow(self, state: State) -> None:
        """This runs by now."""
        self.state = state
        self._behind = True

    def doubt(self, state: State, label: str) -> None:
        """This was found running, and any file may differ."""
        self.state, self.label = state, label
        self._behind, self._written, self._version = True, None, None
        self._files.forget()

    async def flush(self) -> int:
        """Write what is behind; returns the bytes written.

        Raises `ProxyUnavailableError`, `ConfigRejectedError` and `TemplateError`.
        """
        async with self._lock:
            return await self._flush()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Write nothing inside the block."""
        async with self._lock:
            yield

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
        waiting = dict(list(self._book.waiting.items())[:_TAKEOVERS])
        waiting = {b: s for b, s in waiting.items() if b in set(state.layout.slots.values())}
        weights = dict(self._book.weights)
        actions = [action for b, server in waiting.items() for action in takeover(b, server)]
        actions += [f"SetServerWeight {b} {name} {w}" for (b, name), w in weights.items()]
        maps = {name: dict(content) for name, content in self._book.maps.items()}
        text = await asyncio.to_thread(self._document.text, state, label)
        await self._files.put_certificates(state.config)
        await self._files.drop_entries(maps)
        written = 0
        if text != self._written or actions:
            await self._replace(text, reload=False, actions=actions)
            written += len(text)
        written += await self._files.put_maps(maps)
        self.on_disk = frozenset(state.layout.slots.values())
        for pair, weight in weights.items():
            if self._book.weights.get(pair) == weight:
                del self._book.weights[pair]
        for backend, server in waiting.items():
            await self._took_over(backend, server)
        return written

    async def _took_over(self, backend: str, server: Server) -> None:
        """The prepared server is in service: what served until now may go."""
        runtime = self._client.runtime
        if self._book.waiting.get(backend) != server:
            # It was taken out meanwhile, or is another one by now.
            await runtime.set_state(backend, PREPARED, "maint")
            return
        found = {s.name: s for s in await runtime.servers(backend)}.get(PREPARED)
        if (
            found is None
            or found.admin_state != "ready"
            or (found.address, found.port) != (server.address, server.port)
        ):
            logger.warning("the checks of %s don't run yet", backend)
            self._behind = True
            return
        if self._book.waiting.get(backend) != server:
            await runtime.set_state(backend, PREPARED, "maint")
            return
        del self._book.waiting[backend]
        self._book.prepared[backend] = server.name
        self._book.leaving.discard((backend, PREPARED))
        try:
            await runtime.set_state(backend, server.name, "drain")
        except AbsentError:
            return
        self._book.leaving.add((backend, server.name))

    # --- reloads ---

    def part(self, reason: str) -> None:
        """Memory, disk and process were seen to disagree."""
        self._apart = reason

    async def mend(self) -> bool:
        """If memory, disk and process disagree, load what runs; returns whether that was so.

        Raises `ProxyUnavailableError` and `ConfigRejectedError`. Nothing else may change HAProxy
        meanwhile.
        """
        if self._apart is None or self.state is None or self.label is None:
            return False
        async with self._lock:
            logger.warning("%s; HAProxy is given anew what it runs", self._apart)
            await self._come_together(self.state, self.label)
        return True

    async def validate(self, state: State, label: str) -> None:
        """Ask whether HAProxy would load this. Raises `ConfigRejectedError`."""
        await self._files.put_certificates(state.config)
        text = await asyncio.to_thread(self._document.text, state, label)
        await self._client.configuration.validate_raw(await self._whole(text))

    async def _whole(self, text: str) -> str:
        if self._compose is None:
            return text
        return self._compose((await self._client.configuration.raw()).text, text)

    async def load(self, state: State, label: str) -> None:
        """Load a configuration and wait until it runs; to be called while `held`.

        Raises `ConfigRejectedError`: what ran before still runs, and
        the files describe that.
        """
        await self._files.put_certificates(state.config)
        text = await asyncio.to_thread(self._document.text, state, label)
        before = (self.state, self.label)
        from_state = _maps_of(state)
        try:
            await self._files.put_maps(from_state)
            await self._replace(text, reload=True)
            await self._wait_for(label)
        except ReloadFailedError as error:
            self._apart = error.reason
            await self._put_back(*before)
            raise
        except ConfigRejectedError:
            self._behind = True
            raise
        except ProxyUnavailableError:
            self._apart = "the outcome of a reload isn't known"
            self._behind = True
            raise
        self.state, self.label = state, label
        self._apart = None
        self.on_disk = frozenset(state.layout.slots.values())
        self._book.loaded(state)
        self._behind = False

    async def _put_back(self, state: State | None, label: str | None) -> None:
        """After a failed reload memory, disk and process disagree: what runs is loaded anew."""
        if state is None or label is None:
            return
        try:
            await self._come_together(state, label)
        except (ConfigRejectedError, ProxyUnavailableError) as error:
            logger.error("the Data Plane API couldn't be given what runs: %s", error)

    async def _come_together(self, state: State, label: str) -> None:
        maps = {name: dict(content) for name, content in self._book.maps.items()}
        text = await asyncio.to_thread(self._document.text, state, label)
        await self._files.put_maps(maps)
        self._version = None
        await self._replace(text, reload=True)
        await self._wait_for(label)
        self._apart = None
        # Another worker: whatever was at run time only is as it is in the files.
        self._book.loaded(state)
        self.on_disk = frozenset(state.layout.slots.values())

    async def _wait_for(self, label: str) -> None:
        deadline = asyncio.get_running_loop().time() + _NEW_WORKER_SECONDS
        while True:
            try:
                await self._client.runtime.servers(marker(label))
                return
            except AbsentError:
                if asyncio.get_running_loop().time() > deadline:
                    raise ProxyUnavailableError(
                        "HAProxy was reloaded, but another configuration answers"
                    ) from None
            await asyncio.sleep(_POLL)

    async def _replace(self, text: str, *, reload: bool, actions: list[str] | None = None) -> None:
        """Post a text; if the configuration is of another version by now, on top of that."""
        configuration = self._client.configuration
        for attempt in range(_ATTEMPTS):
            # Before the text: what somebody else writes after this is noticed by its version.
            if self._version is None or self._compose is not None:
                self._version = await configuration.version()
            whole = await self._whole(text)
            try:
                self._version = await configuration.replace_raw(
                    whole, version=self._version, reload=reload, actions=actions or ()
                )
            except VersionConflictError:
                self._version = None
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            except (OutcomeUnknownError, RuntimeActionError):
                self._version = self._written = None
                raise
            except (ConfigRejectedError, ProxyUnavailableError):
                self._version = None
                raise
            self._written = text
            return


def _maps_of(state: State) -> dict[str, dict[str, str]]:
    book = Book()
    book.loaded(state)
    return book.maps
