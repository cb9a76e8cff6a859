"""What tests of the file backend share: origins, clients, and a driver over a real HAProxy."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from frontserver.backends.file.backend import FileBackend
from frontserver.model.names import AgentId, DomainName
from frontserver.model.routes import HttpRoute, MongoRoute
from frontserver.model.targets import HostPort
from frontserver.planning.plan import ReloadReason
from tests.unit.backends.conftest import Site
from tests.unit.backends.test_contract import Driver
from tests.unit.planning.routes import http

REFILL = (ReloadReason.POOL_REFILL,)
_PATIENCE = 10.0


@asynccontextmanager
async def driving(site: Site) -> AsyncIterator[Driver]:
    """A started backend over the site's HAProxy; it lets go in the end, HAProxy goes on."""
    driver = Driver(site.backend(), site.frontends)
    await driver.start()
    try:
        yield driver
    finally:
        await driver.backend.close()


async def succeed(driver: Driver, site: Site) -> None:
    """Another control plane takes over from the one that let go; it reads the templates anew."""
    driver.backend = site.backend()
    await driver.start()
    await driver.assert_in_step()


def abandon(driver: Driver) -> None:
    """Drop a backend as `kill -9` of the control plane does: nothing is flushed."""
    backend = driver.backend
    assert isinstance(backend, FileBackend)
    process = backend._process
    for task in (backend._flushing._task, getattr(process, "_supervision", None)):
        if task is not None:
            task.cancel()


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    """Poll until `condition` holds."""
    async with asyncio.timeout(_PATIENCE):
        with contextlib.suppress(TimeoutError):
            while True:
                result = condition()
                if result if isinstance(result, bool) else await result:
                    return
                await asyncio.sleep(0.01)
    raise AssertionError(f"never: {what}")


async def ask(port: int, host: str) -> tuple[int, str]:
    """Status and body of `GET /` for `host`; status 0 if there is no answer."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return 0, ""
    try:
        writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).decode(errors="replace").partition("\r\n\r\n")
        return (int(head.split()[1]) if head else 0), body
    except OSError:
        return 0, ""
    finally:
        await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close, whatever state the connection is in."""
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError):
        await writer.wait_closed()


@asynccontextmanager
async def origin(body: str, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """An HTTP origin that always answers `body`; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write((head + body).encode())
            await writer.drain()
        await closed(writer)

    async with _listening(serve, context) as port:
        yield port


@asynccontextmanager
async def echo(context: ssl.SSLContext) -> AsyncIterator[int]:
    """A TLS server that sends back what it gets; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                writer.write(data)
                await writer.drain()
        await closed(writer)

    async with _listening(serve, context) as port:
        yield port


@asynccontextmanager
async def _listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    context: ssl.SSLContext | None,
) -> AsyncIterator[int]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await server.wait_closed()


class Stream:
    """A TLS conversation with whoever serves `name` on the MongoDB port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def says(self, text: str) -> bool:
        """Whether the text comes back; false once the stream has ended."""
        try:
            async with asyncio.timeout(_PATIENCE):
                self._writer.write(text.encode())
                await self._writer.drain()
                return await self._reader.readexactly(len(text)) == text.encode()
        except (OSError, ssl.SSLError, asyncio.IncompleteReadError):
            return False

    async def close(self) -> None:
        await closed(self._writer)


@asynccontextmanager
async def stream(port: int, name: str) -> AsyncIterator[Stream]:
    """A conversation that is closed in the end."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=name
    )
    made = Stream(reader, writer)
    try:
        yield made
    finally:
        await made.close()


def self_signed(name: str) -> tuple[str, ssl.SSLContext]:
    """A certificate for `name` that is its own CA, as PEM, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(pem + private)
        file.flush()
        context.load_cert_chain(file.name)
    return pem.decode(), context


def shop(port: int, name: str = "shop", **options: object) -> HttpRoute:
    """An HTTP route to an origin on loopback."""
    return http(name, f"http://127.0.0.1:{port}", **options)


def database(port: int, name: str = "a1") -> MongoRoute:
    """A MongoDB route to a server on loopback."""
    domain = DomainName(f"{name}.mongodb.example.com")
    return MongoRoute(AgentId(name), domain, HostPort("127.0.0.1", port))


def current(site: Site) -> Path:
    """The generation that HAProxy would start with."""
    found = site.generations.current()
    assert found is not None
    return found


def text_of(site: Site, name: str) -> str:
    """What HAProxy would read of a file of the current generation; empty if it isn't there."""
    return text_at(current(site) / name)


def text_at(path: Path) -> str:
    """A file without the lines that are out of use."""
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    return "".join(line for line in lines if not line.startswith("#"))


def generations(site: Site) -> list[str]:
    """The names of what is in the directory of generations."""
    return sorted(path.name for path in (site.directory / "haproxy" / "generations").iterdir())


@contextmanager
def unwritable(site: Site) -> Iterator[None]:
    """Writing a map fails as on a broken disk, for root too: its draft can't be opened."""
    maps = current(site) / "maps"
    obstacles = [maps / f".{path.name}.tmp" for path in maps.glob("*.map")]
    for obstacle in obstacles:
        obstacle.mkdir()
    for path in maps.glob("*.map"):
        path.touch()  # Somebody else's doing: it is written anew, not changed in place.
    try:
        yield
    finally:
        for obstacle in obstacles:
            obstacle.rmdir()
