"""Whatever breaks about MongoDB or before it: no connection is cut that the fault isn't about.

Two agents, each with a mongod and a reader that keeps its connection through HAProxy. One row a
test, as in `test_file_faults.py`: what the other reader saw, and how long until this one reads.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from harness.mongo import Mongod
from harness.polling import until
from harness.readers import Reader
from harness.stack import Stack, StackAgent
from harness.wires import Dead, Late, Lingering, Lossy, Torn, Trouble, Wire
from tests.e2e.clients import owned_mongod
from tests.e2e.faults import SOON, record

pytestmark = [pytest.mark.long, pytest.mark.one_mongodb]


class Side(msgspec.Struct):
    """One agent and its mongod, which HAProxy reaches over a wire."""

    stack: Stack
    agent: StackAgent
    mongod: Mongod
    wire: Wire

    def reader(self, port: int | None = None) -> Reader:
        """A reader through HAProxy, on a wire's `port` before it if there is one."""
        return Reader(
            self.agent.domain,
            port or self.stack.front.mongo_port,
            ("fleet", "owner"),
            "agent",
            self.agent.agent_id,
            tls=True,
            tlsCAFile=str(self.agent.ca_file),
        )


@pytest.fixture(scope="module")
def sides(mongod_binary: Path) -> Iterator[tuple[Side, Side]]:
    """Two agents, whose routes are published."""
    del mongod_binary  # Without one, these are skipped.
    with contextlib.ExitStack() as opened:
        stack = opened.enter_context(Stack(mongodb="single"))
        made = []
        for name in ("left", "right"):
            agent = stack.registered(name)
            mongod = owned_mongod(stack, agent)
            wire = opened.enter_context(Wire(mongod.port))
            assert agent.api.mongodb(wire.port).json()["status"] == "active"
            made.append(Side(stack, agent, mongod, wire))
        yield made[0], made[1]


@pytest.fixture
def readers(sides: tuple[Side, Side]) -> Iterator[tuple[Reader, Reader]]:
    """A reader of each."""
    left, right = sides
    with left.reader() as of_left, right.reader() as of_right:
        yield of_left, of_right


@contextlib.contextmanager
def healing(sides: tuple[Side, Side], what: str, hit: Reader, *spared: Reader) -> Iterator[None]:
    """The block ends a fault, or is one that is over at once; all is well soon after it began."""
    began = time.monotonic()
    yield
    healed(sides, what, hit, *spared, since=began)


def healed(
    sides: tuple[Side, Side], what: str, hit: Reader, *spared: Reader, since: float | None = None
) -> None:
    """The one reads again soon after `since`, else from now, and the others were never cut."""
    began = time.monotonic() if since is None else since
    hit.wait_for(5, began + SOON - time.monotonic())
    seconds = time.monotonic() - began
    print(f"\nhealed after {seconds:5.2f} s: {what}")  # noqa: T201 - the row's figure
    for reader in spared:
        reader.wait_for(5)
        assert not reader.is_cut, reader.complaints
    seen = "nothing" if spared else f"cut, {len(hit.complaints)} reads failed"
    said = hit.complaints[-1] if hit.complaints else ""
    record(sides[0].stack, f"MongoDB: {what}", seen, said, seconds, mongodb="single")


def until_it_notices(reader: Reader) -> None:
    """A reader that is hit is cut off."""
    until("the reader is cut off", lambda: reader.is_cut)


def test_a_mongod_is_killed(sides: tuple[Side, Side], readers: tuple[Reader, Reader]) -> None:
    left = sides[0]
    os.kill(left.mongod.pid, signal.SIGKILL)
    until_it_notices(readers[0])
    with healing(sides, "a mongod killed", *readers):
        left.mongod.stop()
        left.mongod.start()


def test_a_mongod_stands_still(sides: tuple[Side, Side], readers: tuple[Reader, Reader]) -> None:
    pid = sides[0].mongod.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        until_it_notices(readers[0])
    finally:
        os.kill(pid, signal.SIGCONT)
    healed(sides, "a mongod stopped (SIGSTOP)", *readers)


every_fault = pytest.mark.parametrize(
    "fault",
    [Late(0.2), Lossy(0.3), Dead(), Torn(), Lingering(2)],
    ids=lambda fault: type(fault).__name__.lower(),
)


def suffer(wire: Wire, fault: Trouble, reader: Reader, passing: Callable[[], Reader]) -> None:
    """Have a fault until it has struck, cutting a reader off or not; `passing` is one that goes."""
    wire.have(fault)
    if isinstance(fault, Dead | Torn):
        until_it_notices(reader)
    elif isinstance(fault, Lingering):
        # Readers keep their connections, which have no end that could linger.
        with passing():
            pass
    wire.until_it_strikes()
    if not isinstance(fault, Dead | Torn):
        reader.wait_for(3)
        assert not reader.is_cut
    wire.mend()


@every_fault
def test_between_haproxy_and_a_mongod(
    sides: tuple[Side, Side], readers: tuple[Reader, Reader], fault: Trouble
) -> None:
    left = sides[0]
    suffer(left.wire, fault, readers[0], left.reader)
    healed(sides, f"the wire to a mongod {fault}", *readers)


@every_fault
def test_between_clients_and_haproxy(
    sides: tuple[Side, Side], readers: tuple[Reader, Reader], fault: Trouble
) -> None:
    """Those of the same agent that don't come over this wire aren't cut either."""
    left = sides[0]
    with Wire(left.stack.front.mongo_port) as wire, left.reader(wire.port) as beyond:
        suffer(wire, fault, beyond, lambda: left.reader(wire.port))
        healed(sides, f"the wire from a MongoDB client {fault}", beyond, *readers)


def test_the_front_server_is_killed(
    sides: tuple[Side, Side], readers: tuple[Reader, Reader]
) -> None:
    """Nobody's connection is cut."""
    front = sides[0].stack.front
    front.kill()
    for reader in readers:
        reader.wait_for(10)
    with healing(sides, "the front server killed", *readers):
        front.start()
    assert not readers[0].is_cut


def test_haproxy_is_reloaded(sides: tuple[Side, Side], readers: tuple[Reader, Reader]) -> None:
    """Old workers keep their connections; new ones go to the new worker."""
    front = sides[0].stack.front
    with healing(sides, "five reloads of HAProxy", *readers):
        for _ in range(5):
            front.reload_haproxy()
        with sides[0].reader() as newcomer:
            newcomer.wait_for(5)
            assert newcomer.complaints == []
    assert not readers[0].is_cut


def test_another_route_is_withdrawn(
    sides: tuple[Side, Side], readers: tuple[Reader, Reader]
) -> None:
    """Its own readers are cut, and read again once it is back."""
    left = sides[0]
    assert left.agent.api.remove(kind="mongodb").status_code == 200
    until_it_notices(readers[0])
    with healing(sides, "a route withdrawn, and back", *readers):
        assert left.agent.api.mongodb(left.wire.port).json()["status"] == "active"


def test_haproxy_is_killed(sides: tuple[Side, Side], readers: tuple[Reader, Reader]) -> None:
    """That cuts everybody, until it is back."""
    front = sides[0].stack.front
    with healing(sides, "HAProxy killed", readers[0]):
        front.kill_haproxy()
        front.revive_haproxy()
        until_it_notices(readers[0])
    readers[1].wait_for(5)
    seen = [len(reader.complaints) for reader in readers]
    for reader in readers:
        reader.wait_for(20)
    assert [len(reader.complaints) for reader in readers] == seen, "only until it is back"
