"""The database: opened safely, every driver error a `StorageError`, commits shared."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import ArgumentError

from frontserver.errors import SettingsError, StorageError
from frontserver.storage import migrate
from frontserver.storage.checkpoints import Checkpoints
from frontserver.storage.failures import storage_errors
from frontserver.storage.session import Session
from frontserver.storage.transactions import GroupCommit, Snapshots
from frontserver.storage.workers import Listener, Workers

T = TypeVar("T")

_READERS = 4
# In pages. Merged within a commit if checkpoints beside the commits can't keep up.
_LARGEST_LOG = 16_000
# Others wait as long as a group takes, so that it must not grow without end.
_MOST_TOGETHER = 256
# Another process (a command line) may hold the write lock for as long as one transaction takes.
_BUSY_MS = 5000
# In seconds, between two tries to switch a new database to WAL.
_PAUSE = 0.005
# Of SQLite's error codes: the rest says what kind of busy, for instance.
_PRIMARY_CODE = 0xFF


def open_database(url: str, *, busy_ms: int = _BUSY_MS) -> Database:
    """The database of a `sqlite:///PATH` URL.

    Makes the directory (0700) and the file (0600) where they are missing, and opens no
    connection yet. Raises `SettingsError` for another kind of URL, `StorageError` if the file
    can't be made. `busy_ms` is how long to wait for another process that writes.
    """
    parsed = _sqlite_url(url)
    path = Path(str(parsed.database)).absolute()
    with storage_errors(f"open {path}"):
        _create_file(path)
        identity = _identity(path)
    # SQLite would make an empty file where the database has gone, and go on with that.
    uri = parsed.set(database=f"file:{quote(str(path))}", query={"mode": "rw", "uri": "true"})
    return Database(uri, path, identity, busy_ms)


class Database:
    """Transactions on one SQLite file, for one event loop.

    Work is a plain function over a `Session`, and runs in a thread. One thread writes: whatever
    waits for it shares one transaction and one commit (group commit), so that many writers at
    once cost little more than one. A few others read beside it. WAL lets them see the last
    commit while one writes; `synchronous=FULL` makes a commit durable before it returns. Use
    `open_database`.
    """

    def __init__(self, url: URL, path: Path, identity: tuple[int, int], busy_ms: int) -> None:
        self._path = str(path)
        self._log_path = f"{path}-wal"
        self._identity = identity
        # BEGIN IMMEDIATE: a transaction that began as a reader can't always become a writer.
        self._write_engine = _engine(
            url, "BEGIN IMMEDIATE", busy_ms, f"wal_autocheckpoint={_LARGEST_LOG}"
        )
        self._read_engine = _engine(url, "BEGIN", busy_ms, "query_only=ON")
        # It makes checkpoints, which count as no change, and mustn't wait for readers.
        self._checkpoints = Checkpoints(self._read_engine)
        self._writer = Workers(
            "database-writer",
            [GroupCommit(self._write_engine, self._check_in_place, self._checkpoints.committed)],
            most=_MOST_TOGETHER,
        )
        self._readers = Workers(
            "database-reader", [Snapshots(self._read_engine) for _ in range(_READERS)]
        )

    async def migrate(self) -> None:
        """Bring the schema to the newest version; a database that is there already is untouched.

        Raises `StorageError` if it can't, or if a newer version of the product made it.
        """
        await self.write(_migrate)

    async def write(self, work: Callable[[Session], T]) -> T:
        """What `work` returns, once all that it did is durable.

        If it raises, nothing of it is stored and this raises the same. Works run one at a time
        in the order of the calls, each seeing what those before it did. They must not block on
        anything but the database. A caller that is cancelled doesn't stop its work: it is
        stored whole, or fails whole.
        """
        return await self._writer.do(work)

    async def read(self, work: Callable[[Session], T]) -> T:
        """What `work` returns; all its queries see one state, and it can't write."""
        return await self._readers.do(work)

    async def ping(self) -> None:
        """Raises `StorageError` if the database doesn't answer."""
        await self.read(lambda session: session.run(text("SELECT 1")).scalar())

    def on_agents_changed(self, listener: Listener) -> None:
        """Call `listener` with the agents that were stored or removed here.

        It is called in the event loop, after each commit and before the caller of `write` goes
        on, even if that caller is gone. Other processes' changes aren't told.
        """
        self._writer.listeners.append(listener)

    async def close(self) -> None:
        """Finish what was asked for, and close every connection.

        SQLite then merges its write-ahead log into the file.
        """
        await self._readers.close()
        await asyncio.to_thread(self._checkpoints.close)
        await self._writer.close()
        self._read_engine.dispose()
        self._write_engine.dispose()

    def _check_in_place(self) -> None:
        """Refuse to commit into a file that is gone: SQLite in WAL mode would, without a word."""
        if _identity(self._path) != self._identity:
            raise StorageError(
                f"{self._path} was replaced while it was open",
                hint="restart frontserver",
            )
        _identity(self._log_path)


def _migrate(session: Session) -> None:
    try:
        with storage_errors("migrate"):
            migrate.upgrade(session.connection())
    except CommandError as error:
        raise StorageError(
            f"the database's version isn't known here: {error}",
            hint="a newer version of frontserver made it: run that, or restore",
        ) from error


def _sqlite_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise _url_refusal("it is not a database URL, such as sqlite:////PATH") from error
    # Earlier versions named the asynchronous driver, and operators may have copied that.
    if parsed.drivername not in {"sqlite", "sqlite+aiosqlite"}:
        raise _url_refusal(f"{parsed.drivername} is not supported yet; use sqlite:////PATH")
    if parsed.database in {None, "", ":memory:"} or str(parsed.database).startswith("file:"):
        raise _url_refusal("name a file, such as sqlite:////var/lib/frontserver/state.sqlite3")
    if parsed.query:
        raise _url_refusal("parameters after '?' are not supported")
    return parsed.set(drivername="sqlite")


def _url_refusal(reason: str) -> SettingsError:
    return SettingsError([f"FRONTSERVER_DATABASE_URL: {reason}"])


def _create_file(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite gives its -wal and -shm files the mode of this one.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _identity(path: Path | str) -> tuple[int, int]:
    # Before every commit: without what `Path` takes.
    status = os.stat(path)  # noqa: PTH116
    return status.st_dev, status.st_ino


def _engine(url: URL, begin: str, busy_ms: int, *pragmas: str) -> Engine:
    # Each thread keeps its connection, so that there is nothing to pool.
    # Parameters by name, which drivers for other databases take too: see `Statement`.
    engine = create_engine(url, poolclass=NullPool, paramstyle="named")
    event.listen(
        engine, "connect", _connected(busy_ms, ["synchronous=FULL", "foreign_keys=ON", *pragmas])
    )
    event.listen(engine, "begin", _beginning(begin))
    return engine


def _beginning(statement: str) -> Callable[[Connection], None]:
    def begin(connection: Connection) -> None:
        # Without SQLAlchemy's execution context, which takes longer than the statement.
        connection.connection.cursor().execute(statement)

    return begin


def _connected(busy_ms: int, pragmas: list[str]) -> Callable[[DBAPIConnection, object], None]:
    def prepare(connection: DBAPIConnection, _record: object) -> None:
        # The driver's own BEGIN is late and deferred; ours comes from the "begin" event.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={busy_ms}")
        _switch_to_wal(cursor, busy_ms)
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return prepare


def _switch_to_wal(cursor: DBAPICursor, busy_ms: int) -> None:
    """Wait for whoever writes: SQLite itself does so only for some of the locks that it needs."""
    deadline = time.monotonic() + busy_ms / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & _PRIMARY_CODE == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() >= deadline:
                raise
            time.sleep(_PAUSE)
        else:
            return
