"""A TCP connection's wire between two parts, which fails as a test chooses.

with Wire(origin.port) as wire:
    agent.http("shop", wire.url)
    wire.have(Late(0.3))
    ...
    wire.mend()
"""

from __future__ import annotations

import random
import socket
import threading

import msgspec

from harness.listener import Listener
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
    """What is sent arrives at once, an orderly end only after `seconds`."""

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
        self._open: set[_Strand] = set()
        self._random = random.Random(1)  # noqa: S311 - the same each time
        self._ended = threading.Event()

    def have(self, trouble: Trouble) -> None:
        """Have this trouble from now on, on connections that are there too."""
        with self._lock:
            self._trouble = trouble
            there = tuple(self._open)
        for strand in there:
            if isinstance(trouble, Dead):
                strand.dead = True
            elif isinstance(trouble, Torn):
                strand.tear()

    def mend(self) -> None:
        """No more trouble. What was half-open stays so."""
        with self._lock:
            self._trouble = None

    def delay(self, *, end: bool) -> float:
        """Seconds by which what is sent now, or an orderly `end`, is late."""
        with self._lock:
            match self._trouble:
                case Late(seconds):
                    return seconds
                case Lossy(share, seconds):
                    return seconds if self._random.random() < share else 0.0
                case Lingering(seconds) if end:
                    return seconds
        return 0.0

    def wait(self, seconds: float) -> None:
        """Wait, no longer than the wire is there."""
        self._ended.wait(seconds)

    def accept(self, connection: socket.socket) -> None:
        with self._lock:
            trouble = self._trouble
        if isinstance(trouble, Torn):
            reset(connection)
            return
        strand = _Strand(self, connection)
        strand.dead = isinstance(trouble, Dead)
        with self._lock:
            self._open.add(strand)
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
        self._wire = wire
        self._near = near
        self._far: socket.socket | None = None

    def serve(self) -> None:
        """Hand on in both directions, until both have ended."""
        try:
            self._far = socket.create_connection(("127.0.0.1", self._wire.target), _PATIENCE)
        except OSError:
            reset(self._near)
            return
        self._far.settimeout(None)
        for end in (self._near, self._far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        back = threading.Thread(target=self._pump, args=(self._far, self._near), daemon=True)
        back.start()
        self._pump(self._near, self._far)
        back.join()
        self._near.close()
        self._far.close()

    def tear(self) -> None:
        """Reset both sides."""
        for end in (self._near, self._far):
            if end is not None:
                reset(end)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(_CHUNK):
                self._wire.wait(self._wire.delay(end=False))
                if not self.dead:
                    sink.sendall(data)
            self._wire.wait(self._wire.delay(end=True))
            if not self.dead:
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            # One side is gone: so is the other, unless nothing arrives there any more.
            if not self.dead:
                reset(sink)
                reset(source)
