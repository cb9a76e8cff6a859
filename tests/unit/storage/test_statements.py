"""Statements that the driver runs itself: values and columns are as SQLAlchemy gives them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from sqlalchemy import bindparam, insert, select

from frontserver.errors import StorageError
from frontserver.model.names import AgentId
from frontserver.storage.agents import AgentRepository
from frontserver.storage.engine import Database
from frontserver.storage.repository import table_of, upsert
from frontserver.storage.session import Session
from frontserver.storage.statements import Statement
from frontserver.storage.tables import AgentRow, InvitationRow
from tests.unit.storage.rows import agent

INVITATIONS = table_of(InvitationRow)
ADD = Statement(insert(INVITATIONS))
PUT = upsert(InvitationRow)
ALL = Statement(select(INVITATIONS).order_by(INVITATIONS.c.agent_id))
NOON = datetime(2030, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)


def invitation(agent_id: str, at: datetime = NOON, key_hash: str = "hash") -> dict[str, object]:
    return {"agent_id": agent_id, "key_hash": key_hash, "created_at": at}


async def test_rows_are_what_sqlalchemy_reads_itself(database: Database) -> None:
    query = select(INVITATIONS).order_by(INVITATIONS.c.agent_id)

    def both_ways(session: Session) -> tuple[object, object]:
        session.change(ADD, invitation("a"), invitation("b", NOON + timedelta(days=1)))
        own = [tuple(row) for row in session.rows(ALL)]
        return own, [tuple(row) for row in session.execute(query)]

    own, expected = await database.write(both_ways)
    assert (
        own
        == expected
        == [
            ("a", "hash", NOON),
            ("b", "hash", NOON + timedelta(days=1)),
        ]
    )


async def test_times_are_stored_in_utc(database: Database) -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5)))
    await database.write(lambda session: session.change(ADD, invitation("a", elsewhere)))
    ((_, _, at),) = await database.read(lambda session: session.rows(ALL))
    assert (at, at.tzinfo) == (NOON, UTC)


async def test_flags_come_back_as_flags(database: Database) -> None:
    record = msgspec.structs.replace(agent(), peer_verified=False)
    await database.write(lambda session: AgentRepository(session).put(record))
    agent_id = AgentId("host-7")
    assert await database.read(lambda session: AgentRepository(session).find(agent_id)) == record
    flag = Statement(
        select(table_of(AgentRow).c.peer_verified).where(
            table_of(AgentRow).c.agent_id == bindparam("agent_id")
        )
    )
    ((verified,),) = await database.read(lambda session: session.rows(flag, agent_id="host-7"))
    assert verified is False


async def test_an_upsert_replaces_the_row_with_its_key_and_no_other(database: Database) -> None:
    def twice(session: Session) -> None:
        session.change(PUT, invitation("a"), invitation("b"))
        session.change(PUT, invitation("a", key_hash="newer"))

    await database.write(twice)
    rows = await database.read(lambda session: session.rows(ALL))
    assert [tuple(row)[:2] for row in rows] == [("a", "newer"), ("b", "hash")]


async def test_values_in_the_statement_itself_count(database: Database) -> None:
    one = Statement(
        select(INVITATIONS.c.agent_id)
        .where(INVITATIONS.c.key_hash == "hash", INVITATIONS.c.agent_id > bindparam("after"))
        .order_by(INVITATIONS.c.agent_id)
        .limit(1)
    )

    def store(session: Session) -> None:
        session.change(ADD, *(invitation(name) for name in "abd"), invitation("c", key_hash="x"))

    await database.write(store)
    rows = await database.read(lambda session: session.rows(one, after="b"))
    assert [tuple(row) for row in rows] == [("d",)]


async def test_no_values_change_nothing(database: Database) -> None:
    await database.write(lambda session: session.change(ADD))
    assert list(await database.read(lambda session: session.rows(ALL))) == []


async def test_what_the_driver_refuses_is_a_storage_error(database: Database) -> None:
    await database.write(lambda session: session.change(ADD, invitation("a")))
    with pytest.raises(StorageError, match="UNIQUE") as refused:
        await database.write(lambda session: session.change(ADD, invitation("a")))
    assert "at the same time" in str(refused.value.hint)
