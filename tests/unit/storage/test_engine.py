"""Transactions: durable, alone, and every failure a StorageError."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest
from sqlalchemy import text

from frontserver.errors import ConflictError, SettingsError, StorageError
from frontserver.storage.engine import Database, Session, open_database
from frontserver.storage.revisions import RevisionRepository
from tests.unit.storage.rows import CHANGE, NOW, add_agent


async def latest(database: Database) -> int:
    async with database.read() as session:
        return await RevisionRepository(session).latest()


async def record(database: Database) -> int:
    async with database.write() as session:
        return await RevisionRepository(session).record(CHANGE, NOW)


async def pragma(session: Session, name: str) -> object:
    return (await session.execute(text(f"PRAGMA {name}"))).scalar_one()


def test_the_file_and_its_directory_are_for_the_owner_alone(path: Path) -> None:
    open_database(f"sqlite:///{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_files_beside_it_are_for_the_owner_alone_too(database: Database, path: Path) -> None:
    beside = sorted(path.parent.glob("state.sqlite3-*"))
    assert [p.name for p in beside] == ["state.sqlite3-shm", "state.sqlite3-wal"]
    assert {stat.S_IMODE(p.stat().st_mode) for p in beside} == {0o600}


async def test_every_connection_has_its_pragmas(database: Database) -> None:
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 50}
    async with database.write() as writer, database.read() as reader:
        assert {name: await pragma(writer, name) for name in expected} == expected
        assert {name: await pragma(reader, name) for name in expected} == expected
        assert await pragma(writer, "query_only") == 0
        assert await pragma(reader, "query_only") == 1


async def test_a_write_block_holds_the_write_lock_from_its_start(
    database: Database, path: Path
) -> None:
    other = sqlite3.connect(path, timeout=0)
    try:
        async with database.write():
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
        other.execute("BEGIN IMMEDIATE")
    finally:
        other.close()


async def test_what_is_committed_is_there_after_a_new_start(database: Database, path: Path) -> None:
    await record(database)
    again = open_database(f"sqlite:///{path}")
    await again.migrate()
    assert await latest(again) == 1
    await again.close()


async def test_a_first_write_block_that_writes_nothing_is_fine(
    database: Database, path: Path
) -> None:
    await database.close()
    again = open_database(f"sqlite:///{path}")
    async with again.write():
        pass
    assert await latest(again) == 0
    await again.close()


async def test_nothing_is_stored_of_a_block_that_raises(database: Database) -> None:
    async def refused() -> None:
        async with database.write() as session:
            await RevisionRepository(session).record(CHANGE, NOW)
            raise ConflictError("no")

    with pytest.raises(ConflictError):
        await refused()
    assert await latest(database) == 0
    assert await record(database) == 1


async def test_nothing_is_stored_of_a_block_that_is_cancelled(database: Database) -> None:
    reached = asyncio.Event()

    async def interrupted() -> None:
        async with database.write() as session:
            await RevisionRepository(session).record(CHANGE, NOW)
            reached.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(interrupted())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await latest(database) == 0
    assert await record(database) == 1


async def test_cancelled_anywhere_a_write_leaves_a_database_that_works(
    database: Database,
) -> None:
    for steps in range(60):
        task = asyncio.create_task(record(database))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    before = await latest(database)
    assert await record(database) == before + 1


async def test_writers_take_turns_and_numbers_have_no_gaps(database: Database) -> None:
    numbers = await asyncio.gather(*(record(database) for _ in range(20)))
    assert sorted(numbers) == list(range(1, 21))


async def test_readers_go_on_beside_a_writer_and_see_the_last_commit(database: Database) -> None:
    await record(database)
    async with database.write() as session:
        await RevisionRepository(session).record(CHANGE, NOW)
        assert await latest(database) == 1
    assert await latest(database) == 2


async def test_all_queries_of_a_read_block_see_one_state(database: Database) -> None:
    async with database.read() as session:
        assert await RevisionRepository(session).latest() == 0
        await record(database)
        assert await RevisionRepository(session).latest() == 0


async def test_a_lock_held_by_another_process_is_a_storage_error(
    database: Database, path: Path
) -> None:
    other = sqlite3.connect(path)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="locked") as caught:
            await record(database)
    finally:
        other.close()
    assert caught.value.hint == "another process writes to the database; try again"
    assert caught.value.__cause__ is not None
    assert await record(database) == 1


async def test_a_full_disk_is_a_storage_error_and_stores_nothing(database: Database) -> None:
    async with database.write() as session:
        pages = await pragma(session, "page_count")
        await pragma(session, f"max_page_count={pages}")

    async def fill() -> None:
        while True:
            await record(database)

    with pytest.raises(StorageError, match="full"):
        await fill()
    stored = await latest(database)
    async with database.read() as session:
        numbered = (await session.execute(text("SELECT count(*) FROM audit"))).scalar_one()
    assert numbered == stored


async def test_a_read_only_database_is_a_storage_error(database: Database) -> None:
    with pytest.raises(StorageError, match="readonly"):
        async with database.read() as session:
            await RevisionRepository(session).record(CHANGE, NOW)


async def test_a_broken_reference_is_a_storage_error(database: Database) -> None:
    with pytest.raises(StorageError, match="FOREIGN KEY"):
        async with database.write() as session:
            await session.execute(text("INSERT INTO audit VALUES (7, '{}', NULL)"))


async def test_a_state_directory_that_vanished_is_a_storage_error(
    database: Database, path: Path
) -> None:
    await record(database)
    shutil.rmtree(path.parent)
    with pytest.raises(StorageError, match="can't store"):
        await record(database)


async def test_a_file_that_was_replaced_is_a_storage_error(database: Database, path: Path) -> None:
    await record(database)
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    copy.rename(path)
    with pytest.raises(StorageError, match="replaced"):
        await record(database)


async def test_a_damaged_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"not a database, and long enough to be read as one" * 100)
    bad = open_database(f"sqlite:///{tmp_path / 'bad'}")
    with pytest.raises(StorageError, match="not a database"):
        await bad.migrate()
    await bad.close()


async def test_a_database_of_a_newer_version_is_refused(database: Database, path: Path) -> None:
    async with database.write() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    again = open_database(f"sqlite:///{path}")
    with pytest.raises(StorageError, match="9999") as caught:
        await again.migrate()
    await again.close()
    assert "newer version" in str(caught.value.hint)


def test_a_path_that_cant_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="can't open"):
        open_database(f"sqlite:///{tmp_path / 'file' / 'state.sqlite3'}")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://localhost/x",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?uri=true",
        "sqlite:////tmp/x?mode=ro",
        "no url",
    ],
)
def test_other_urls_are_refused_by_name(url: str) -> None:
    with pytest.raises(SettingsError, match="FRONTSERVER_DATABASE_URL"):
        open_database(url)


async def test_a_relative_path_stays_where_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    database = open_database("sqlite+aiosqlite:///state.sqlite3")
    monkeypatch.chdir(os.sep)
    await database.migrate()
    await add_agent(database)
    await database.close()
    assert (tmp_path / "state.sqlite3").stat().st_size > 0
