"""The database: opened safely, one writer at a time, every driver error a `StorageError`."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from alembic.util import CommandError
from sqlalchemy import URL, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from frontserver.errors import SettingsError, StorageError
from frontserver.storage import migrate

# One transaction; the layers above hand it to repositories and don't look inside.
Session = AsyncSession

_READERS = 4
# Another process (a command line) may hold the write lock for as long as one transaction takes.
_BUSY_MS = 5000


def open_database(url: str, *, busy_ms: int = _BUSY_MS) -> Database:
    """The database of a `sqlite:///PATH` or `sqlite+aiosqlite:///PATH` URL.

    Makes the directory (0700) and the file (0600) where they are missing, and opens no
    connection yet. Raises `SettingsError` for another kind of URL, `StorageError` if the file
    can't be made. `busy_ms` is how long to wait for another process that writes.
    """
    parsed = _sqlite_url(url)
    path = Path(str(parsed.database)).absolute()
    with storage_errors(f"open {path}"):
        _create_file(path)
        identity = _identity(path)
    return Database(parsed.set(database=str(path)), path, identity, busy_ms)


class Database:
    """Transactions on one SQLite file: `write` one at a time, `read` beside them.

    WAL lets readers see the last commit while one writes; `synchronous=FULL` makes a commit
    durable before it returns. Use `open_database`.
    """

    def __init__(self, url: URL, path: Path, identity: tuple[int, int], busy_ms: int) -> None:
        self._path = path
        self._identity = identity
        # BEGIN IMMEDIATE: a transaction that began as a reader can't always become a writer.
        self._write_engine = _engine(url, "BEGIN IMMEDIATE", busy_ms, pool_size=1)
        self._read_engine = _engine(url, "BEGIN", busy_ms, pool_size=_READERS, read_only=True)
        self._write_sessions = async_sessionmaker(self._write_engine, expire_on_commit=False)
        self._read_sessions = async_sessionmaker(self._read_engine, expire_on_commit=False)
        self._writer = asyncio.Lock()

    async def migrate(self) -> None:
        """Bring the schema to the newest version; a database that is there already is untouched.

        Raises `StorageError` if it can't, or if a newer version of the product made it.
        """
        async with self._writer:
            with storage_errors("migrate"):
                async with self._write_engine.begin() as connection:
                    try:
                        await connection.run_sync(migrate.upgrade)
                    except CommandError as error:
                        raise StorageError(
                            f"the database's version isn't known here: {error}",
                            hint="a newer version of frontserver made it: run that, or restore",
                        ) from error

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A transaction that may write: durable once the block is left without an error.

        Nothing of it is stored if the block raises. Blocks run one at a time; a caller relies
        on no more than "after the block it is durable", so that several may share a commit.
        """
        async with self._writer:
            with storage_errors("store"):
                session = self._write_sessions()
                try:
                    await session.connection()
                    yield session
                    await session.flush()
                    self._check_in_place()
                    await _to_the_end(session.commit())
                finally:
                    # Rolls back what isn't committed.
                    await _to_the_end(session.close())

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A transaction that only reads: all its queries see one state."""
        with storage_errors("read"):
            async with self._read_sessions() as session:
                yield session

    async def close(self) -> None:
        """Close every connection; SQLite then merges its write-ahead log into the file."""
        await self._read_engine.dispose()
        await self._write_engine.dispose()

    def _check_in_place(self) -> None:
        """Refuse to commit into a file that is gone: SQLite in WAL mode would, without a word."""
        if _identity(self._path) != self._identity:
            raise StorageError(
                f"{self._path} was replaced while it was open",
                hint="restart frontserver",
            )
        _identity(self._path.with_name(f"{self._path.name}-wal"))


async def _to_the_end(work: Awaitable[None]) -> None:
    """Await `work` even if the caller is cancelled meanwhile: half a commit helps nobody."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Turn what the driver or the file system raises inside into `StorageError`."""
    try:
        yield
    except (DBAPIError, sqlite3.Error, OSError) as error:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
        raise StorageError(f"can't {doing}: {cause}", hint=_hint(error, str(cause))) from error
    except PoolTimeoutError as error:
        raise StorageError(f"can't {doing}: all connections are busy", hint="try again") from error
    except SQLAlchemyError as error:
        raise StorageError(f"can't {doing}: {error}") from error


def _hint(error: Exception, text: str) -> str:
    if "locked" in text or "busy" in text:
        return "another process writes to the database; try again"
    if "full" in text:
        return "free space on the disk of the state directory"
    if "readonly" in text or "unable to open" in text or isinstance(error, OSError):
        return "check that the state directory exists and that this user may write to it"
    if isinstance(error, IntegrityError):
        return "somebody else changed the same thing at the same time; try again"
    return "check the disk and the log"


def _sqlite_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise _url_refusal("it is not a database URL, such as sqlite:////PATH") from error
    if parsed.drivername not in {"sqlite", "sqlite+aiosqlite"}:
        raise _url_refusal(f"{parsed.drivername} is not supported yet; use sqlite:////PATH")
    if parsed.database in {None, "", ":memory:"} or str(parsed.database).startswith("file:"):
        raise _url_refusal("name a file, such as sqlite:////var/lib/frontserver/state.sqlite3")
    if parsed.query:
        raise _url_refusal("parameters after '?' are not supported")
    return parsed.set(drivername="sqlite+aiosqlite")


def _url_refusal(reason: str) -> SettingsError:
    return SettingsError([f"FRONTSERVER_DATABASE_URL: {reason}"])


def _create_file(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite gives its -wal and -shm files the mode of this one.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _engine(
    url: URL, begin: str, busy_ms: int, *, pool_size: int, read_only: bool = False
) -> AsyncEngine:
    engine = create_async_engine(url, pool_size=pool_size, max_overflow=0, pool_timeout=10)
    pragmas = [
        # First, since switching to WAL may have to wait itself.
        f"busy_timeout={busy_ms}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        *(["query_only=ON"] if read_only else []),
    ]
    event.listen(engine.sync_engine, "connect", _connected(pragmas))
    event.listen(engine.sync_engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _connected(pragmas: list[str]) -> Callable[[DBAPIConnection, object], None]:
    def prepare(connection: DBAPIConnection, _record: object) -> None:
        # The driver's own BEGIN is late and deferred; ours comes from the "begin" event.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return prepare
