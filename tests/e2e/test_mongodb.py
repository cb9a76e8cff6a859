"""Two agents on the one MongoDB port: each reaches its own, strangers reach nothing."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from pymongo.errors import PyMongoError

from harness.mongo import Mongod
from harness.polling import until
from harness.stack import Stack, StackAgent
from tests.e2e.clients import AT_ONCE, mongo_client, owned_mongod, owner, serial

# OP_MSG {hello: 1, $db: "admin"}: what a driver without TLS says first.
PLAIN_HELLO = bytes.fromhex(
    "340000000100000000000000dd07000000000000001f000000"
    "1068656c6c6f000100000002246462000600000061646d696e0000"
)


class Side(msgspec.Struct):
    """One agent, its mongod, and the serial number of its certificate."""

    agent: StackAgent
    mongod: Mongod
    serial: str

    def publish(self) -> None:
        assert self.agent.api.mongodb(self.mongod.port).json()["status"] == "active"

    def withdraw(self) -> None:
        assert self.agent.api.remove(kind="mongodb").status_code == 200


@pytest.fixture(scope="module")
def sides(stack: Stack, mongod_binary: Path) -> tuple[Side, Side]:
    """Two agents whose mongods hold different data."""
    made = []
    for name in ("left", "right"):
        agent = stack.registered(name)
        mongod = owned_mongod(stack, agent)
        made.append(Side(agent, mongod, serial(mongod.port, agent.domain, agent.ca_file)))
    return made[0], made[1]


@pytest.fixture
def published(sides: tuple[Side, Side]) -> tuple[Side, Side]:
    """Both of them, published whatever the test before did."""
    for side in sides:
        side.publish()
    return sides


def seen(stack: Stack, side: Side) -> str:
    return serial(stack.front.mongo_port, side.agent.domain, side.agent.ca_file)


def test_alternating_clients_never_cross(stack: Stack, published: tuple[Side, Side]) -> None:
    """New connection after new connection, each reads its own data."""
    for round_ in range(10):
        side = published[round_ % 2]
        with mongo_client(stack, side.agent) as client:
            assert owner(client) == side.agent.agent_id
    for round_ in range(100):
        side = published[round_ % 2]
        assert seen(stack, side) == side.serial


def test_concurrent_clients_never_cross(stack: Stack, published: tuple[Side, Side]) -> None:
    """Handshakes for both names at once, while data is read for both."""
    with ThreadPoolExecutor(8) as pool:
        turns = [published[turn % 2] for turn in range(160)]
        found = list(pool.map(lambda side: seen(stack, side), turns))
    assert found == [side.serial for side in turns]


def test_reused_slots_never_cross(stack: Stack, published: tuple[Side, Side]) -> None:
    """Routes that come and go in turn get each other's old slots, and stay apart."""
    left, right = published
    for _ in range(6):
        left.withdraw()
        right.withdraw()
        right.publish()
        left.publish()
        assert (seen(stack, left), seen(stack, right)) == (left.serial, right.serial)
        left.withdraw()
        with pytest.raises((OSError, EOFError)):
            seen(stack, left)
        assert seen(stack, right) == right.serial
        left.publish()
    for side in published:
        with mongo_client(stack, side.agent) as client:
            assert owner(client) == side.agent.agent_id


def test_an_open_connection_never_reads_another_agents_data(
    stack: Stack, published: tuple[Side, Side]
) -> None:
    """A client whose route is removed is cut off, or reads its own data: nobody else's."""
    left, right = published
    with mongo_client(
        stack, left.agent, serverSelectionTimeoutMS=500, directConnection=True
    ) as client:
        assert owner(client) == "left"
        left.withdraw()
        for _ in range(3):
            right.withdraw()
            right.publish()
            try:
                assert owner(client) == "left"
            except PyMongoError:
                continue


def test_a_moved_route_leads_to_the_new_target(stack: Stack, published: tuple[Side, Side]) -> None:
    """Another port under the same name: the very next connection goes there."""
    left, right = published
    answer = left.agent.api.mongodb(right.mongod.port)
    assert (answer.status_code, answer.json()["status"]) == (200, "active")
    with pytest.raises(ssl.SSLCertVerificationError):
        seen(stack, left)  # The right one's certificate doesn't name the left one's domain.
    left.publish()
    assert seen(stack, left) == left.serial


def test_sni_is_compared_without_case(stack: Stack, published: tuple[Side, Side]) -> None:
    """RFC 6066 section 3: host names, compared as such."""
    side = published[0]
    name = side.agent.domain.upper()
    assert serial(stack.front.mongo_port, name, side.agent.ca_file) == side.serial


@pytest.mark.parametrize(
    "name",
    [
        "nobody.mongodb.example.com",
        "below.left.mongodb.example.com",
        "mongodb.example.com",
        "left.apps.example.com",
        "xleft.mongodb.example.com",
        None,
    ],
)
def test_a_wrong_or_missing_sni_is_refused_at_once(
    stack: Stack, published: tuple[Side, Side], name: str | None
) -> None:
    """Whoever names no agent is sent away without waiting; nobody answers instead."""
    with pytest.raises((OSError, EOFError)) as refused:
        serial(stack.front.mongo_port, name, published[0].agent.ca_file)
    assert not isinstance(refused.value, TimeoutError | ssl.SSLCertVerificationError)


def test_plain_text_is_refused_at_once(stack: Stack, published: tuple[Side, Side]) -> None:
    """A driver without TLS is sent away as soon as it speaks."""
    with socket.create_connection(("127.0.0.1", stack.front.mongo_port), AT_ONCE) as raw:
        raw.sendall(PLAIN_HELLO)
        assert _until_closed(lambda: raw.recv(4096)) == b""


def test_a_hello_in_pieces_is_understood(stack: Stack, published: tuple[Side, Side]) -> None:
    """The SNI is found however the network cuts the ClientHello."""
    side = published[1]
    context = ssl.create_default_context(cafile=side.agent.ca_file)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=side.agent.domain)
    with socket.create_connection(("127.0.0.1", stack.front.mongo_port), 5) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                hello = outgoing.read()
                for start in range(0, len(hello), 20):
                    raw.sendall(hello[start : start + 20])
                incoming.write(raw.recv(65_536))
    certificate = tls.getpeercert()
    assert certificate is not None
    assert certificate["serialNumber"] == side.serial


def test_a_stopped_mongod_is_no_ones_problem_but_its_own(
    stack: Stack, published: tuple[Side, Side]
) -> None:
    """Clients of a dead mongod are told at once, the others notice nothing."""
    left, right = published
    left.mongod.stop()
    try:
        with pytest.raises((OSError, EOFError)):
            seen(stack, left)
        assert seen(stack, right) == right.serial
    finally:
        left.mongod.start()
    until("the left one is back", lambda: seen(stack, left) == left.serial, quiet=(OSError,))


def _until_closed(receive: Callable[[], bytes]) -> bytes:
    """All that comes until the end; a reset is an end too, a timeout isn't."""
    try:
        return receive()
    except ConnectionError:
        return b""
