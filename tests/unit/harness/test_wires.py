"""Each trouble of a wire has its effect, and is counted: else rows about wires prove nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from harness.errors import HarnessError
from harness.listener import Listener
from harness.wires import Dead, Late, Lingering, Lossy, Torn, Wire

SECONDS = 0.3
# How long nothing must come to count as silence; what does come takes some milliseconds.
SILENCE = 0.2


class Echo(Listener):
    """Sends back what comes, and ends when the other side does."""

    def accept(self, connection: socket.socket) -> None:
        threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def close(self) -> None:
        """Nothing: its connections end with their wire."""

    def _echo(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(1024):
                connection.sendall(data)


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Echo() as echo, Wire(echo.port) as wire:
        yield wire


@pytest.fixture
def client(wire: Wire) -> Iterator[socket.socket]:
    """A connection that is there before the trouble."""
    with connected(wire) as client:
        assert exchange(client) < SECONDS
        yield client


def connected(wire: Wire) -> socket.socket:
    return socket.create_connection(("127.0.0.1", wire.port), timeout=5)


def exchange(client: socket.socket) -> float:
    """Send something; the seconds until it is back."""
    began = time.monotonic()
    client.sendall(b"ping")
    assert client.recv(4) == b"ping"
    return time.monotonic() - began


def seconds_to_end(client: socket.socket) -> float:
    """End in order; the seconds until the other side's end is there."""
    began = time.monotonic()
    client.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    return time.monotonic() - began


def is_silent(client: socket.socket) -> bool:
    """Whether nothing comes back, no end either."""
    client.settimeout(SILENCE)
    client.sendall(b"ping")
    with pytest.raises(TimeoutError):
        client.recv(4)
    return True


def test_without_trouble_it_changes_nothing(wire: Wire, client: socket.socket) -> None:
    assert exchange(client) < SECONDS
    assert seconds_to_end(client) < SECONDS
    assert wire.struck == 0


def test_late(wire: Wire, client: socket.socket) -> None:
    """There and back, and each end."""
    wire.have(Late(SECONDS))
    assert exchange(client) >= 2 * SECONDS
    assert wire.struck == 2
    assert seconds_to_end(client) >= 2 * SECONDS
    assert wire.struck == 4


def test_lossy(wire: Wire, client: socket.socket) -> None:
    """Some of what is sent is late, and the rest isn't."""
    wire.have(Lossy(0.3, SECONDS))
    late = [exchange(client) >= SECONDS for _ in range(6)]
    assert True in late
    assert False in late
    assert sum(late) <= wire.struck < 2 * len(late)


def test_dead(wire: Wire, client: socket.socket) -> None:
    """Nothing arrives, on new connections neither; what was made meanwhile stays dead."""
    wire.have(Dead())
    assert wire.struck == 0
    assert is_silent(client)
    assert wire.struck == 1
    with connected(wire) as newcomer:
        assert is_silent(newcomer)
        assert wire.struck == 2
        wire.mend()
        assert is_silent(newcomer)
    assert is_silent(client)
    with connected(wire) as newcomer:
        exchange(newcomer)


def test_what_is_left_of_a_dead_wire_is_no_strike_of_the_next_trouble(
    wire: Wire, client: socket.socket
) -> None:
    wire.have(Dead())
    wire.have(Lingering(SECONDS))
    assert is_silent(client)
    assert wire.struck == 0


def test_torn(wire: Wire, client: socket.socket) -> None:
    """There and then, and each new connection."""
    wire.have(Torn())
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert wire.struck == 1
    with pytest.raises(ConnectionResetError), connected(wire) as newcomer:
        newcomer.recv(1)
    assert wire.struck == 2
    wire.mend()
    with connected(wire) as newcomer:
        exchange(newcomer)


def test_what_is_torn_never_ends_in_order(wire: Wire) -> None:
    for _ in range(50):
        with connected(wire) as client:
            exchange(client)
            wire.have(Torn())
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        wire.mend()


def test_lingering(wire: Wire, client: socket.socket) -> None:
    """Only ends are late, in both directions."""
    wire.have(Lingering(SECONDS))
    assert exchange(client) < SECONDS
    assert wire.struck == 0
    assert seconds_to_end(client) >= 2 * SECONDS
    assert wire.struck == 2


def test_a_mended_wire_is_as_before(wire: Wire, client: socket.socket) -> None:
    wire.have(Late(SECONDS))
    wire.mend()
    assert exchange(client) < SECONDS
    assert wire.struck == 0


def test_a_trouble_that_never_strikes_is_told(wire: Wire, client: socket.socket) -> None:
    """A connection that is kept never has an end that could linger."""
    wire.have(Lingering(SECONDS))
    with pytest.raises(HarnessError, match=r"trouble strikes: Lingering"):
        wire.until_it_strikes(lambda: exchange(client), seconds=SECONDS)


def test_something_is_done_until_it_strikes(wire: Wire, client: socket.socket) -> None:
    wire.have(Lossy(0.3, 0.01))
    wire.until_it_strikes(lambda: exchange(client))
    assert wire.struck > 0
