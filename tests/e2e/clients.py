"""Clients that the tests share: of TLS, of MongoDB, of HTTP/2."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo

from harness.mongo import Mongod
from harness.stack import Stack, StackAgent

# Shorter than HAProxy's inspect-delay (5 s): what isn't refused at once ends in a timeout.
AT_ONCE = 3.0


def serial(port: int, name: str | None, ca: Path) -> str:
    """The serial number of the certificate seen under `name`, after a verified handshake."""
    context = ssl.create_default_context(cafile=ca)
    if name is None:
        context.check_hostname = False
    with (
        socket.create_connection(("127.0.0.1", port), AT_ONCE) as raw,
        context.wrap_socket(raw, server_hostname=name) as tls,
    ):
        certificate = tls.getpeercert()
    assert certificate is not None
    return str(certificate["serialNumber"])


@contextlib.contextmanager
def mongo_client(stack: Stack, agent: StackAgent, **options: Any) -> Iterator[Any]:
    """pymongo through HAProxy, everything verified."""
    client: Any = pymongo.MongoClient(
        agent.domain,
        stack.front.mongo_port,
        **{
            "tls": True,
            "tlsCAFile": str(agent.ca_file),
            "serverSelectionTimeoutMS": 10_000,
            # A member of a replica set would send it past HAProxy.
            "directConnection": True,
            **options,
        },
    )
    with client:
        yield client


def owned_mongod(stack: Stack, agent: StackAgent) -> Mongod:
    """A running mongod with the agent's certificate, whose data says whose it is."""
    mongod = stack.secured_mongod(agent)
    with pymongo.MongoClient(
        "localhost",
        mongod.port,
        tls=True,
        tlsCAFile=str(agent.ca_file),
        directConnection=True,
    ) as direct:
        direct.fleet.owner.insert_one({"_id": 1, "agent": agent.agent_id})
    return mongod


def owner(client: Any) -> str:
    """Whose data a client reads."""
    return str(client.fleet.owner.find_one({"_id": 1})["agent"])


def http2_get(port: int, host: str, context: ssl.SSLContext) -> tuple[str, bytes]:
    """One GET over HTTP/2 (RFC 9113), by hand: the status field as HPACK bytes, and the body.

    Raises `AssertionError` if h2 isn't negotiated.
    """
    context.set_alpn_protocols(["h2", "http/1.1"])
    fields = {":method": "GET", ":scheme": "https", ":path": "/h2", ":authority": host}
    # Literal fields without indexing, names and values as plain strings (RFC 7541 section 6.2.2).
    block = b"".join(
        b"\x00" + bytes([len(n)]) + n.encode() + bytes([len(v)]) + v.encode()
        for n, v in fields.items()
    )
    with (
        socket.create_connection(("127.0.0.1", port), 5) as raw,
        context.wrap_socket(raw, server_hostname=host) as tls,
    ):
        assert tls.selected_alpn_protocol() == "h2"
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        tls.sendall(preface + _frame(4, 0, 0, b"") + _frame(1, 0x5, 1, block))
        head, body = b"", b""
        with tls.makefile("rb") as stream:
            while True:
                length_type = stream.read(9)
                length = int.from_bytes(length_type[:3], "big")
                kind, flags, number = struct.unpack(">BBI", length_type[3:])
                payload = stream.read(length)
                if number == 1 and kind == 1:
                    head += payload
                elif number == 1 and kind == 0:
                    body += payload
                assert kind != 7, f"GOAWAY: {payload!r}"
                if number == 1 and kind in {0, 1} and flags & 0x1:
                    return head.hex(), body


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload
