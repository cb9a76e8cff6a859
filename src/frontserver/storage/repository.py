"""What every repository shares, and the clock that stamps rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from advanced_alchemy.base import ModelProtocol
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session

Row = TypeVar("Row", bound=ModelProtocol)

# Both dialects spell an upsert alike, and SQLAlchemy has no common name for it.
_INSERTS: dict[str, type[sqlite.Insert] | type[postgresql.Insert]] = {
    "sqlite": sqlite.Insert,
    "postgresql": postgresql.Insert,
}


class Repository(SQLAlchemyAsyncRepository[Row]):
    """A repository within one transaction of `Database`, which maps the driver's errors."""

    wrap_exceptions = False

    def __init__(self, session: AsyncSession | async_scoped_session[AsyncSession]) -> None:
        # Rows are written whole, so there is nothing to read back.
        super().__init__(session=session, auto_refresh=False)

    async def upsert_rows(self, rows: Sequence[dict[str, Any]]) -> None:
        """Insert rows in one statement; one whose primary key is there already is replaced."""
        if not rows:
            return
        statement = _INSERTS[self.session.get_bind().dialect.name](self.model_type)
        primary_key = list(self.pk_attr_names)
        changed = {
            name: statement.excluded[name] for name in rows[0] if name not in set(primary_key)
        }
        await self.session.execute(
            statement.on_conflict_do_update(index_elements=primary_key, set_=changed), rows
        )


def utc_now() -> datetime:
    """The time now, in UTC (aware)."""
    return datetime.now(UTC)
