"""A TCP connection's wire between two parts, which fails as a test chooses.

with Wire(origin.port) as wire:
    agent.http("shop", wire.url)
    wire.have(Late(0.3))
    ...
    wire.until_it_strikes()
    wire.mend()
"""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable

import msgspec

from harness.listener import Listener
from harness.polling import until
from harness.resets import reset

_CHUNK = 1 << 16
_PATIENCE = 5.0


class Late(msgspec.Struct, frozen=True):
    """Everything, an orderly end too, arrives `seconds` later."""

    seconds: float


class Lossy(msgspec.Struct, frozen=True):
    """A `share` of what is sent arrives `seconds` later: lost, and sent again by TCP (RFC 6298)."""

    share: float
    seconds: float = 0.3


class Dead(msgspec.Struct, frozen=True):
    """Half-open: connections are accepted and stay, and nothing arrives any more, no end either.

    They stay dead when the wire is mended, as after a host that vanished.
    """


class Torn(msgspec.Struct, frozen=True):
    """Connections are reset."""


class Lingering(msgspec.Struct, frozen=True):
    """What is sent arrives at once, an orderly end only after `seconds`.

    It strikes only where connections end: one that is kept, or that is reset, doesn't notice.
    """

    seconds: float


Trouble = Late | Lossy | Dead | Torn | Lingering


class Wire(Listener):
    """Listens on `port` of 127.0.0.1 and hands on to `target`, another port there, and back.

    Nothing is wrong with it until `have`. A context manager.
    """

    def __init__(self, target: int) -> None:
        super().__init__()
        self.target = target
        self._lock = threading.Lock()
        self._trouble: Trouble | None = None
        self._struck = 0
        self._open: set[_Strand] = set()
        self._random = random.Random(1)  # noqa: S311 - the same each time
        self._ended = threading.Event()

    @property
    def struck(self) -> int:
        """How often the trouble had an effect since the last `have`.

        Counted is what arrives late, what never arrives, and each connection that is reset.
        """
        with self._lock:
            return self._struck

    def have(self, trouble: Trouble) -> None:
        """Have this trouble from now on, on connections that are there too."""
        with self._lock:
            self._trouble = trouble
            there = tuple(self._open)
            self._struck = len(there) if isinstance(trouble, Torn) else 0
        for strand in there:
            if isinstance(trouble, Dead):
                strand.dead = True
            elif isinstance(trouble, Torn):
                strand.tear()

    def until_it_strikes(
        self, meanwhile: Callable[[], object] = lambda: None, *, seconds: float = 20.0
    ) -> None:
        """Do something over the wire, again and again, until the trouble has struck.

        Raises `HarnessError` if it doesn't: whatever was seen had nothing to do with it.
        """

        def strikes() -> int:
            meanwhile()
            return self.struck

        until(f"the wire's trouble strikes: {self._trouble}", strikes, seconds=seconds)

    def mend(self) -> None:
        """No more trouble. What was half-open stays so."""
        with self._lock:
            self._trouble = None

    def delay(self, *, end: bool) -> float:
        """Seconds by which what is sent now, or an orderly `end`, is late."""
        with self._lock:
            seconds = self._delay(end=end)
            if seconds:
                self._struck += 1
            return seconds

    def _delay(self, *, end: bool) -> float:
        match self._trouble:
            case Late(seconds):
                return seconds
            case Lossy(share, seconds):
                return seconds if self._random.random() < share else 0.0
            case Lingering(seconds) if end:
                return seconds
        return 0.0

    def swallow(self) -> None:
        """Something never arrives: a strike, unless its connection is left from an earlier one."""
        with self._lock:
            if isinstance(self._trouble, Dead):
                self._struck += 1

    def wait(self, seconds: float) -> None:
        """Wait, no longer than the wire is there."""
        self._ended.wait(seconds)

    def accept(self, connection: socket.socket) -> None:
        strand = _Strand(self, connection)
        with self._lock:
            torn = isinstance(self._trouble, Torn)
            if torn:
                self._struck += 1
            else:
                strand.dead = isinstance(self._trouble, Dead)
                self._open.add(strand)
        if torn:
            strand.tear()
        else:
            threading.Thread(target=self._hand_on, args=(strand,), daemon=True).start()

    def close(self) -> None:
        self._ended.set()
        with self._lock:
            there = tuple(self._open)
        for strand in there:
            strand.tear()

    def _hand_on(self, strand: _Strand) -> None:
        try:
            strand.serve()
        finally:
            with self._lock:
                self._open.discard(strand)


class _Strand:
    """One connection from one side to the other."""

    def __init__(self, wire: Wire, near: socket.socket) -> None:
        self.dead = False
        self._torn = False
        self._wire = wire
        self._near = near
        self._far: socket.socket | None = None

    def serve(self) -> None:
        """Hand on in both directions, until both have ended."""
        try:
            self._far = socket.create_connection(("127.0.0.1", self._wire.target), _PATIENCE)
            self._far.settimeout(None)
            for end in (self._near, self._far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            # Nobody is there, or the connection was torn meanwhile.
            self.tear()
            return
        back = threading.Thread(target=self._pump, args=(self._far, self._near), daemon=True)
        back.start()
        self._pump(self._near, self._far)
        back.join()
        self._near.close()
        self._far.close()

    def tear(self) -> None:
        """Reset both sides; whoever hands on between them takes it for an orderly end."""
        self._torn = True
        for end in (self._near, self._far):
            if end is not None:
                reset(end)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(_CHUNK):
                if self._arrives(end=False):
                    sink.sendall(data)
            if self._arrives(end=True):
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            # One side is gone: so is the other, unless nothing arrives there any more.
            if not self.dead:
                self.tear()

    def _arrives(self, *, end: bool) -> bool:
        """Wait as long as what was sent now is on its way; whether it arrives."""
        self._wire.wait(self._wire.delay(end=end))
        if self.dead:
            self._wire.swallow()
        return not (self.dead or self._torn)
