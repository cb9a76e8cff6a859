"""Connections to a server on this machine that answers as a test tells it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from frontserver.dataplane import transport as under_test
from frontserver.dataplane.connection import Connection
from frontserver.dataplane.transport import CONNECTIONS, KeptConnections
from frontserver.errors import ProxyUnavailableError
from frontserver.pki.authority import CertificateAuthority
from tests.unit.pki.samples import spec

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\no1\r\n3\r\no23\r\n0\r\n\r\n"

Answering = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Reads requests whole, answers each by `answering`, counts its connections."""

    def __init__(self, answering: Answering) -> None:
        self.answering = answering
        self.connections = 0
        self.requests: list[bytes] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0] or 0)
                self.requests.append(head + await reader.readexactly(size))
                await self.answering(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def says(*parts: bytes, close: bool = False) -> Answering:
    async def answer(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if close:
            writer.close()

    return answer


@asynccontextmanager
async def serving(answering: Answering, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(answering)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    server.url = f"{'https' if tls else 'http'}://localhost:{port}"
    try:
        yield server
    finally:
        listener.close()


def request(url: str, *, body: bytes = b"", seconds: float = 30.0) -> httpx.Request:
    return httpx.Request(
        "POST" if body else "GET",
        f"{url}/a%2Fb?x=y",
        headers={"Content-Length": str(len(body))} if body else {},
        content=body,
        extensions={"timeout": {"connect": 10.0, "read": seconds}},
    )


async def get(kept: KeptConnections, url: str, seconds: float = 30.0) -> bytes:
    return (await kept.handle_async_request(request(url, seconds=seconds))).content


async def test_a_connection_is_kept_and_used_again() -> None:
    async with serving(says(OK)) as server:
        kept = KeptConnections()
        assert [await get(kept, server.url) for _ in range(3)] == [b"ok"] * 3
        await kept.aclose()

    assert server.connections == 1
    assert server.requests[0].startswith(b"GET /a%2Fb?x=y HTTP/1.1\r\n")


async def test_a_body_is_sent_whole() -> None:
    body = b"x" * 3_000_000
    async with serving(says(OK)) as server:
        kept = KeptConnections()
        answer = await kept.handle_async_request(request(server.url, body=body))
        await kept.aclose()

    assert answer.status_code == 200
    assert server.requests[0].endswith(b"\r\n\r\n" + body)


@pytest.mark.parametrize(
    "parts",
    [
        [CHUNKED],
        [CHUNKED[index : index + 1] for index in range(len(CHUNKED))],
        [b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED],
    ],
)
async def test_an_answer_may_come_in_any_pieces(parts: list[bytes]) -> None:
    async with serving(says(*parts)) as server:
        kept = KeptConnections()
        assert [await get(kept, server.url) for _ in range(2)] == [b"o1o23"] * 2
        await kept.aclose()


async def test_calls_at_once_share_a_bounded_number_of_connections() -> None:
    async with serving(says(OK)) as server:
        kept = KeptConnections()
        answers = await asyncio.gather(*(get(kept, server.url) for _ in range(100)))
        await kept.aclose()

    assert answers == [b"ok"] * 100
    assert server.connections <= CONNECTIONS


async def test_a_connection_that_the_server_closes_is_not_used_again() -> None:
    closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with serving(says(closing, close=True)) as server:
        kept = KeptConnections()
        assert [await get(kept, server.url) for _ in range(3)] == [b"ok"] * 3

    assert server.connections == 3


async def test_an_old_connection_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_IDLE_SECONDS", -1.0)
    async with serving(says(OK)) as server:
        kept = KeptConnections()
        assert [await get(kept, server.url) for _ in range(2)] == [b"ok"] * 2
        await kept.aclose()

    assert server.connections == 2


@pytest.mark.parametrize("part", [b"", OK[:30]])
async def test_a_connection_that_ends_too_early_is_an_error(part: bytes) -> None:
    async with serving(says(part, close=True)) as server:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await get(KeptConnections(), server.url)


async def test_what_is_not_http_is_an_error() -> None:
    async with serving(says(b"SSH-2.0-OpenSSH_9.2\r\n")) as server:
        with pytest.raises(httpx.RemoteProtocolError, match=r"isn't HTTP/1\.1"):
            await get(KeptConnections(), server.url)


async def test_an_answer_beyond_all_measure_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_LARGEST_ANSWER", 1)
    async with serving(says(OK)) as server:
        with pytest.raises(httpx.RemoteProtocolError, match="too large"):
            await get(KeptConnections(), server.url)


async def test_a_server_that_does_not_answer_in_time_is_left_and_its_connection_too() -> None:
    async with serving(says()) as server:
        kept = KeptConnections()
        with pytest.raises(httpx.ReadTimeout, match=r"within 0\.05 s"):
            await get(kept, server.url, seconds=0.05)
        server.answering = says(OK)
        assert await get(kept, server.url) == b"ok"
        await kept.aclose()

    assert server.connections == 2


async def test_a_call_that_is_given_up_leaves_no_answer_for_the_next_one() -> None:
    asked = asyncio.Event()
    late = asyncio.Event()

    async def answer_late(writer: asyncio.StreamWriter) -> None:
        asked.set()
        await late.wait()
        writer.write(OK.replace(b"ok", b"no"))

    async with serving(answer_late) as server:
        kept = KeptConnections()
        call = asyncio.create_task(get(kept, server.url))
        await asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        late.set()
        server.answering = says(OK)
        assert await get(kept, server.url) == b"ok"
        await kept.aclose()


async def test_nobody_there_is_told_from_an_answer_lost() -> None:
    async with serving(says(OK)) as server:
        pass

    with pytest.raises(httpx.ConnectError):
        await get(KeptConnections(), server.url)


class Tls:
    """A server's side, and files for a client; the same certificate serves both."""

    def __init__(self, place: Path) -> None:
        now = datetime.now(UTC)
        authority = CertificateAuthority.create("Example", key_type="ec", now=now)
        leaf = authority.issue(spec(replica_set=True), now=now)
        self.ca = place / "ca.pem"
        self.certificate = place / "leaf.pem"
        self.key = place / "leaf.key"
        self.ca.write_text(authority.certificate_pem)
        self.certificate.write_text(leaf.certificate_pem)
        self.key.write_text(leaf.key_pem or "")
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca)
        self.server.load_cert_chain(self.certificate, self.key)


def over_tls(server: Server, **files: Path) -> Connection:
    return Connection(server.url, user=None, password=None, **files)


async def test_tls_with_a_ca_of_our_own(tmp_path: Path) -> None:
    tls = Tls(tmp_path)
    async with serving(says(OK), tls.server) as server:
        connection = over_tls(server, ca=tls.ca)
        assert (await connection.send("GET", "/info")).body == b"ok"
        await connection.close()


async def test_a_server_of_another_ca_is_not_trusted(tmp_path: Path) -> None:
    async with serving(says(OK), Tls(tmp_path).server) as server:
        with pytest.raises(ProxyUnavailableError, match=r"can't be reached.*CERTIFICATE_VERIFY"):
            await over_tls(server).send("POST", "/x")
    assert server.requests == []


async def test_a_client_certificate_is_shown(tmp_path: Path) -> None:
    tls = Tls(tmp_path)
    tls.server.verify_mode = ssl.CERT_REQUIRED
    async with serving(says(OK), tls.server) as server:
        connection = over_tls(server, ca=tls.ca, certificate=tls.certificate, key=tls.key)
        assert (await connection.send("GET", "/info")).body == b"ok"
        await connection.close()
        with pytest.raises(ProxyUnavailableError):
            await over_tls(server, ca=tls.ca).send("POST", "/x")
    assert len(server.requests) == 1


class Written(asyncio.Transport):
    """Takes what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.set()

    def abort(self) -> None:
        pass


async def test_a_server_that_refuses_our_certificate_has_done_nothing() -> None:
    # Go's TLS says so after the handshake; asyncio's says nothing.
    written = Written()
    exchange = under_test._Exchange()
    exchange.connection_made(written)
    call = asyncio.create_task(exchange.exchange(b"POST / HTTP/1.1\r\n\r\n", 30.0))
    await written.sent.wait()

    exchange.connection_lost(ssl.SSLError("tlsv13 alert certificate required"))

    with pytest.raises(httpx.ConnectError, match="certificate required"):
        await call
