"""What every repository shares, and the clock that stamps rows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from advanced_alchemy.base import ModelProtocol
from advanced_alchemy.repository import SQLAlchemySyncRepository
from sqlalchemy import (
    BindParameter,
    Column,
    Table,
    bindparam,
    text,
)

from frontserver.storage.session import Session
from frontserver.storage.statements import Statement

Row = TypeVar("Row", bound=ModelProtocol)


class Repository(SQLAlchemySyncRepository[Row]):
    """A repository within one transaction of `Database`, which maps the driver's errors.

    What runs for every request is a `Statement` about tables, made once.
    """

    wrap_exceptions = False
    session: Session

    def __init__(self, session: Session) -> None:
        kind = type(self)
        if kind not in _PREPARED:
            # Rows are written whole, so there is nothing to read back.
            super().__init__(session=session, auto_refresh=False)
            _PREPARED[kind] = {k: v for k, v in vars(self).items() if k != "session"}
        vars(self).update(_PREPARED[kind], session=session)


# What advanced-alchemy works out for a repository, by its class: the same each time, and it takes
# longer than a statement.
_PREPARED: dict[type[object], dict[str, Any]] = {}


def table_of(row: type[ModelProtocol]) -> Table:
    """The table of a row's class, for statements that need no ORM."""
    return cast("Table", row.__table__)


def values_of(columns: Iterable[Column[Any]]) -> list[BindParameter[Any]]:
    """A parameter for each column, of its name and type."""
    return [bindparam(column.name, type_=column.type) for column in columns]


def upsert(row: type[ModelProtocol]) -> Statement:
    """Inserts a row; one whose primary key is there already is replaced."""
    table = table_of(row)
    columns = table.c.keys()
    places = ", ".join(f":{name}" for name in columns)
    insert = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 - our own names
    return Statement(text(f"{insert} {on_conflict(table)}").bindparams(*values_of(table.c)))


def on_conflict(table: Table) -> str:
    """The end of an insert that replaces the row with the same primary key.

    SQLite and PostgreSQL spell it alike; SQLAlchemy has a form for each of them.
    """
    key = [column.name for column in table.primary_key]
    others = [name for name in table.c.keys() if name not in key]  # noqa: SIM118 - not a dict
    changed = ", ".join(f"{name} = excluded.{name}" for name in others)
    return f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changed}"


def utc_now() -> datetime:
    """The time now, in UTC (aware)."""
    return datetime.now(UTC)
