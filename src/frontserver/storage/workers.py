"""Threads that do an event loop's blocking work: one hop there and one back, however much waits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, Protocol, TypeVar, cast

from frontserver.errors import StorageError
from frontserver.model.names import AgentId
from frontserver.storage.session import Session

T = TypeVar("T")
Work = Callable[[Session], T]
# Called in the event loop, before anybody hears that what changed is stored.
Listener = Callable[[frozenset[AgentId]], None]

_log = logging.getLogger(__name__)


class Piece(Generic[T]):
    """One piece of work, its outcome, and who waits for it."""

    __slots__ = ("agents_changed", "error", "future", "value", "work")

    def __init__(self, work: Work[T], future: asyncio.Future[T]) -> None:
        self.work = work
        self.future = future
        self.value: T | None = None
        self.error: BaseException | None = None
        self.agents_changed: frozenset[AgentId] = frozenset()

    def answer(self) -> None:
        """Tell whoever waits, if anybody still does. In the event loop only."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(cast("T", self.value))
        elif isinstance(self.error, StopIteration):
            # A future can't hold one (PEP 479).
            self.future.set_exception(RuntimeError("the work raised StopIteration"))
        else:
            self.future.set_exception(self.error)


class Handler(Protocol):
    """What a thread does; all of it in that one thread."""

    def handle(self, pieces: Sequence[Piece[Any]]) -> None:
        """Do the pieces, and set the value or the error of each."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class Workers:
    """One thread a handler, all fed from one queue in the order of the calls.

    A thread takes what waits, `most` pieces at a time, and starts with the first call. To be
    used from one event loop.
    """

    def __init__(self, name: str, handlers: Iterable[Handler], *, most: int = 1) -> None:
        self._handlers = tuple(handlers)
        self._most = most
        # `None` ends the thread that takes it.
        self._queue: queue.SimpleQueue[Piece[Any] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._name = name
        self._closed = False
        self.listeners: list[Listener] = []

    async def do(self, work: Work[T]) -> T:
        """What `work` returns or raises. A caller that is cancelled doesn't stop it half-way.

        Raises `StorageError` once this is closed.
        """
        if self._closed:
            raise StorageError("the database is closed", hint="restart frontserver")
        if not self._threads:
            self._start()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put(Piece(work, future))
        return await future

    async def close(self) -> None:
        """Finish what was asked for, and end the threads."""
        self._closed = True
        threads, self._threads = self._threads, []
        for _ in threads:
            self._queue.put(None)
        for thread in threads:
            await asyncio.to_thread(thread.join)

    def _start(self) -> None:
        self._threads = [
            # A daemon: what isn't committed when the process ends is lost anyway.
            threading.Thread(target=self._run, args=(handler,), name=self._name, daemon=True)
            for handler in self._handlers
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, handler: Handler) -> None:
        going_on = True
        while going_on:
            pieces, going_on = self._take()
            if pieces:
                _handled(handler, pieces)
                # The loop may be closed already: then nobody waits any more.
                with contextlib.suppress(RuntimeError):
                    pieces[0].future.get_loop().call_soon_threadsafe(self._answer, pieces)
        handler.close()

    def _take(self) -> tuple[list[Piece[Any]], bool]:
        """Wait for work; what there is of it, and whether more may come."""
        piece = self._queue.get()
        pieces: list[Piece[Any]] = []
        while piece is not None:
            pieces.append(piece)
            if len(pieces) == self._most:
                return pieces, True
            try:
                piece = self._queue.get_nowait()
            except queue.Empty:
                return pieces, True
        return pieces, False

    def _answer(self, pieces: Sequence[Piece[Any]]) -> None:
        changed = frozenset[AgentId]().union(*(piece.agents_changed for piece in pieces))
        try:
            for listener in self.listeners if changed else ():
                listener(changed)
        finally:
            for piece in pieces:
                piece.answer()


def _handled(handler: Handler, pieces: Sequence[Piece[Any]]) -> None:
    try:
        handler.handle(pieces)
    except BaseException as error:  # noqa: BLE001 - whoever waits gets it
        _log.exception("a thread of the database met an unexpected error")
        for piece in pieces:
            piece.error = piece.error or error
