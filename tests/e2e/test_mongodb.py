"""Two agents on the one MongoDB port: each reaches its own, strangers reach nothing."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pymongo.errors import PyMongoError

from harness.mongo import Mongod
from harness.polling import until
from harness.stack import NativeStack, StackAgent
from tests.e2e.clients import AT_ONCE, mongo_client, owned_mongod, owner, serial

Pair = tuple[StackAgent, StackAgent]

# OP_MSG {hello: 1, $db: "admin"}: what a driver without TLS says first.
_BODY = bytes.fromhex(
    "000000001f0000001068656c6c6f000100000002246462000600000061646d696e0000"
)
PLAIN_HELLO = struct.pack("<iiii", 16 + 1 + len(_BODY), 1, 0, 2013) + _BODY[:4] + b"\0" + _BODY[4:]


@pytest.fixture(scope="module")
def mongods(stack: NativeStack, mongod_binary: Path) -> Iterator[dict[str, Mongod]]:
    """Two running mongods with different data, by agent id."""
    agents = [stack.registered("left"), stack.registered("right")]
    yield {agent.agent_id: owned_mongod(stack, agent) for agent in agents}


@pytest.fixture
def pair(stack: NativeStack, mongods: dict[str, Mongod]) -> Iterator[Pair]:
    """Both agents, each with its route."""
    left, right = StackAgent(stack, "left", _KEYS["left"]), StackAgent(stack, "right")
    yield left, right


_KEYS: dict[str, str] = {}
