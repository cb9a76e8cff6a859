"""What every repository shares, and the clock that stamps rows."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from advanced_alchemy.base import ModelProtocol
from advanced_alchemy.repository import SQLAlchemySyncRepository
from sqlalchemy import (
    BindParameter,
    Column,
    Select,
    Table,
    TextClause,
    bindparam,
    select,
    text,
)

from frontserver.storage.session import Session

Row = TypeVar("Row", bound=ModelProtocol)


class Repository(SQLAlchemySyncRepository[Row]):
    """A repository within one transaction of `Database`, which maps the driver's errors.

    What runs for every request is a statement about tables that was made once, so that
    SQLAlchemy finds it compiled.
    """

    wrap_exceptions = False
    session: Session

    def __init__(self, session: Session) -> None:
        super().__init__(
            session=session,
            # What it would make itself, for each new repository.
            statement=_select(self.model_type),
            # Rows are written whole, so there is nothing to read back.
            auto_refresh=False,
        )

    def upsert_rows(self, rows: Sequence[dict[str, Any]]) -> None:
        """Insert rows in one statement; one whose primary key is there already is replaced."""
        if rows:
            self.session.run(_upsert(table_of(self.model_type), tuple(rows[0])), rows)


def table_of(row: type[ModelProtocol]) -> Table:
    """The table of a row's class, for statements that need no ORM."""
    return cast("Table", row.__table__)


def values_of(columns: Iterable[Column[Any]]) -> list[BindParameter[Any]]:
    """A parameter for each column, of its name and type."""
    return [bindparam(column.name, type_=column.type) for column in columns]


def on_conflict(table: Table, columns: Iterable[str]) -> str:
    """The end of an insert that replaces the row with the same primary key.

    SQLite and PostgreSQL spell it alike. SQLAlchemy's own form exists for each of them apart, and
    is compiled anew each time that it runs.
    """
    key = [column.name for column in table.primary_key]
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    return f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changed}"


@functools.cache
def _select(row: type[Row]) -> Select[tuple[Row]]:
    return select(row)


@functools.cache
def _upsert(table: Table, columns: tuple[str, ...]) -> TextClause:
    names, places = ", ".join(columns), ", ".join(f":{name}" for name in columns)
    insert = f"INSERT INTO {table.name} ({names}) VALUES ({places})"  # noqa: S608 - our own names
    values = values_of(table.c[name] for name in columns)
    return text(f"{insert} {on_conflict(table, columns)}").bindparams(*values)


def utc_now() -> datetime:
    """The time now, in UTC (aware)."""
    return datetime.now(UTC)
