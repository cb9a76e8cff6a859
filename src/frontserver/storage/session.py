"""What a piece of work has in hand: a transaction, and what the next ones need to know of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, CursorResult, Executable, orm

from frontserver.model.names import AgentId
from frontserver.storage.statements import Row, Statement, Values


class Session(orm.Session):
    """SQLAlchemy's session over a transaction that belongs to somebody else.

    It neither commits nor rolls back, and a piece of work must not either: several of them share
    one transaction, each in a savepoint.

    `latest_revision` is the newest revision's number once this transaction knows it: while it
    holds the write lock, nobody else can number a change. `agents_changed` are the agents that
    were stored or removed here; whoever listens to `Database.on_agents_changed` hears of them
    after the commit.
    """

    def __init__(self, connection: Connection, latest_revision: int | None = None) -> None:
        super().__init__(connection, autoflush=False, join_transaction_mode="rollback_only")
        self._connection = connection
        self._cursor = connection.connection.cursor()
        self.latest_revision = latest_revision
        self.agents_changed: set[AgentId] = set()

    def rows(self, statement: Statement, **values: str | float) -> Sequence[Row]:
        """All rows of a prepared query, each in the order of its columns."""
        return statement.rows(self._cursor, self._connection.dialect, values)

    def change(self, statement: Statement, *values: Values) -> None:
        """Run a prepared statement, once for each of the values."""
        statement.run(self._cursor, self._connection.dialect, values)

    def run(
        self, statement: Executable, values: Mapping[str, Any] | None = None
    ) -> CursorResult[Any]:
        """Execute any statement about tables, without what the ORM adds to `execute`."""
        return self._connection.execute(statement, values)

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        """Refuses pending objects with `TypeError`: rows are written by statements.

        A unit of work that fails would roll back the transaction of all.
        """
        del objects
        if self.new or self.dirty or self.deleted:
            raise TypeError("write rows with statements: this session has no unit of work")

    def close(self) -> None:
        """Let go of the transaction, which goes on."""
        self._cursor.close()
        # Most work uses prepared statements alone: then the ORM has nothing to clear away.
        if self.in_transaction():
            super().close()
