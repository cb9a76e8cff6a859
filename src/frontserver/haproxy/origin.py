"""The other two ends of a trial: an origin that answers anything, and a client that asks once."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import re
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# Reserved (RFC 2606): no route can have a name below it.
DOMAIN = "canary.invalid"

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\ncanary"
_TLS_HANDSHAKE = b"\x16"
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
_BACKEND = re.compile(rb"^canary-backend: (\S+)\r$", re.MULTILINE | re.IGNORECASE)


class Origin(msgspec.Struct, frozen=True):
    """Two ports on 127.0.0.1, in the clear and with TLS; `certificate` is what proves the latter.

    Anything that isn't a request is answered too, so that the same origin serves TCP.
    """

    port: int
    tls_port: int
    certificate: str


class Answer(msgspec.Struct, frozen=True):
    """What a client got: an HTTP status (0 for TCP), and the backend that HAProxy took."""

    status: int
    backend: str | None


@contextlib.asynccontextmanager
async def origin(directory: Path) -> AsyncIterator[Origin]:
    """Listens while the block lasts; its key is in `directory` meanwhile. Raises `OSError`."""
    loop = asyncio.get_running_loop()
    certificate, key = _identity()
    path = directory / "origin.pem"
    path.write_text(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    open_ones: set[asyncio.BaseTransport] = set()
    plain = await loop.create_server(lambda: _Answering(open_ones), "127.0.0.1", 0)
    try:
        secure = await loop.create_server(
            lambda: _Answering(open_ones), "127.0.0.1", 0, ssl=context
        )
        try:
            yield Origin(_port(plain), _port(secure), certificate)
        finally:
            secure.close()
    finally:
        plain.close()
        for transport in open_ones:
            transport.close()


async def ask_http(path: Path, host: str, seconds: float) -> Answer | None:
    """One request over a Unix socket; `None` if the connection was closed without an answer.

    Raises `TimeoutError` after `seconds`, and `OSError` if nobody listens.
    """
    head = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    answer = await _exchange(path, head, seconds)
    match = _STATUS.match(answer)
    if match is None:
        return None
    backend = _BACKEND.search(answer)
    return Answer(int(match[1]), backend[1].decode() if backend else None)


async def ask_tls(path: Path, name: str, seconds: float) -> Answer | None:
    """The beginning of a TLS conversation for `name`, whose server HAProxy chooses by it.

    Returns and raises as `ask_http`; the status is 0, and no backend is known.
    """
    return Answer(0, None) if await _exchange(path, _hello(name), seconds) else None


async def _exchange(path: Path, data: bytes, seconds: float) -> bytes:
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            writer.write(data)
            with contextlib.suppress(ConnectionError):
                return await reader.read(1 << 16)
            return b""
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def _hello(name: str) -> bytes:
    """A ClientHello that asks for `name`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def _port(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


def _identity() -> tuple[str, str]:
    """A self-signed certificate for `DOMAIN` and its key, PEM each. Nobody else trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DOMAIN)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(DOMAIN)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
    )


class _Answering(asyncio.Protocol):
    """Answers the first request, or the first bytes of anything else, and closes."""

    def __init__(self, open_ones: set[asyncio.BaseTransport]) -> None:
        self._open = open_ones
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._open.add(transport)

    def data_received(self, data: bytes) -> None:
        self._seen += data
        if self._seen.startswith(_TLS_HANDSHAKE) or b"\r\n\r\n" in self._seen:
            self._transport.write(_ANSWER)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self._open.discard(self._transport)
