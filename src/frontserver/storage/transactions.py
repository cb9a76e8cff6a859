"""Transactions on one connection: many writers share a commit, each reader has a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.engine.interfaces import DBAPICursor

from frontserver.errors import StorageError
from frontserver.storage.failures import storage_errors
from frontserver.storage.session import Session
from frontserver.storage.workers import Piece


class _Connected:
    """Keeps one connection, for one thread; after a failure the next transaction has a new one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Committed if the block is left without an error, else rolled back."""
        if self._connection is None:
            self._connection = self._engine.connect()
        try:
            with self._connection.begin():
                yield self._connection
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class GroupCommit(_Connected):
    """Does pieces of work in one transaction, in their order, and commits them together.

    Each has a savepoint of its own: one that raises is undone alone. If the commit fails, or the
    database gives up the transaction (SQLite does so on a full disk), all of them have failed.
    `check` runs before each commit, and raises if there must be none; `committed` after each.
    """

    def __init__(
        self, engine: Engine, check: Callable[[], None], committed: Callable[[], None]
    ) -> None:
        super().__init__(engine)
        self._check = check
        self._committed = committed

    def handle(self, pieces: Sequence[Piece[Any]]) -> None:
        """Do the pieces; on return they are durable, or hold their error."""
        try:
            with storage_errors("store"), self._transaction() as connection:
                self._do_all(connection, pieces)
                self._check()
            self._committed()
        except StorageError as error:
            for piece in pieces:
                if piece.error is None:
                    piece.error = _same(error)

    def _do_all(self, connection: Connection, pieces: Sequence[Piece[Any]]) -> None:
        # SQLAlchemy's own savepoints cost more than what is stored in them.
        cursor = connection.connection.cursor()
        latest: int | None = None
        for piece in pieces:
            cursor.execute("SAVEPOINT piece")
            session = Session(connection, latest)
            _do(piece, session, "store")
            if piece.error is None:
                latest = session.latest_revision
                piece.agents_changed = frozenset(session.agents_changed)
            else:
                _undo(cursor, piece.error)
            cursor.execute("RELEASE SAVEPOINT piece")
        cursor.close()


class Snapshots(_Connected):
    """Does pieces of work that only read, each on the state as it is at its first query."""

    def handle(self, pieces: Sequence[Piece[Any]]) -> None:
        """Do the pieces, one after the other."""
        for piece in pieces:
            try:
                with storage_errors("read"), self._transaction() as connection:
                    _do(piece, Session(connection), "read")
            except StorageError as error:
                piece.error = piece.error or error
            if isinstance(piece.error, StorageError):
                # What it is connected to may not be the database any more.
                self.close()


def _do(piece: Piece[Any], session: Session, doing: str) -> None:
    try:
        with storage_errors(doing):
            piece.value = piece.work(session)
            session.flush()
    except BaseException as error:  # noqa: BLE001 - whoever waits for the piece gets it
        piece.error = error
    finally:
        session.close()


def _undo(cursor: DBAPICursor, error: BaseException) -> None:
    try:
        cursor.execute("ROLLBACK TO SAVEPOINT piece")
    except Exception as gone:
        # The savepoint went with its transaction, for the reason that the piece failed for.
        hint = error.hint if isinstance(error, StorageError) else None
        raise StorageError(f"the transaction was given up: {error}", hint=hint) from gone


def _same(error: StorageError) -> StorageError:
    """The error once more, since each caller adds its own traceback to it."""
    again = StorageError(error.message, hint=error.hint)
    again.__cause__ = error.__cause__ or error
    return again
