"""Transactions: durable, alone, and every failure a StorageError."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import stat
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, event, text

from frontserver.errors import ConflictError, SettingsError, StorageError
from frontserver.storage.checkpoints import Checkpoints
from frontserver.storage.engine import Database, open_database
from frontserver.storage.revisions import RevisionRepository
from frontserver.storage.session import Session
from frontserver.storage.tables import NodeRow
from tests.unit.storage.rows import CHANGE, NOW, add_agent


def number(session: Session) -> int:
    return RevisionRepository(session).record(CHANGE, NOW)


async def latest(database: Database) -> int:
    return await database.read(lambda session: RevisionRepository(session).latest())


async def record(database: Database) -> int:
    return await database.write(number)


def pragma(session: Session, name: str) -> object:
    return session.execute(text(f"PRAGMA {name}")).scalar_one()


def move(path: Path, to: Path) -> None:
    assert not to.exists()
    path.rename(to)


def size(path: Path) -> int:
    return path.stat().st_size


class Held:
    """A piece of work that stops half-way, having recorded a revision, until it is let go."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.reached = asyncio.Event()
        self._go_on = threading.Event()

    def __call__(self, session: Session) -> int:
        recorded = number(session)
        self._loop.call_soon_threadsafe(self.reached.set)
        assert self._go_on.wait(10)
        return recorded

    def let_go(self) -> None:
        self._go_on.set()


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

    def pragmas(session: Session) -> dict[str, object]:
        return {name: pragma(session, name) for name in (*expected, "query_only")}

    assert await database.write(pragmas) == {**expected, "query_only": 0}
    assert await database.read(pragmas) == {**expected, "query_only": 1}


async def test_the_log_gets_into_the_file_beside_the_commits(
    database: Database, path: Path
) -> None:
    await record(database)
    before = size(path)
    async with asyncio.timeout(20):
        # Far less than what SQLite would merge within a commit here.
        while size(path) == before:
            await record(database)
    assert await latest(database) < 16_000


async def test_a_checkpoint_that_fails_is_tried_again(
    database: Database, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Too few for the database's own.
    for _ in range(20):
        await record(database)
    before = size(path)
    tried = threading.Event()

    def fail_once(*_: object) -> None:
        if not tried.is_set():
            tried.set()
            raise sqlite3.OperationalError("database or disk is full")

    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    event.listen(engine, "connect", fail_once)
    checkpoints = Checkpoints(engine)
    try:
        async with asyncio.timeout(20):
            while size(path) == before:
                checkpoints.committed()
                await asyncio.sleep(0)
    finally:
        checkpoints.close()
    assert "database or disk is full" in caplog.text
    assert "it is tried again" in caplog.text


async def test_a_write_holds_the_write_lock_from_its_start(database: Database, path: Path) -> None:
    def try_to_lock(_: Session) -> None:
        other = sqlite3.connect(path, timeout=0)
        try:
            other.execute("BEGIN IMMEDIATE")
        finally:
            other.close()

    with pytest.raises(StorageError, match="locked"):
        await database.write(try_to_lock)
    await database.read(try_to_lock)


async def test_what_is_committed_is_there_after_a_new_start(database: Database, path: Path) -> None:
    await record(database)
    again = open_database(f"sqlite:///{path}")
    await again.migrate()
    assert await latest(again) == 1
    await again.close()


async def test_a_first_write_that_writes_nothing_is_fine(database: Database, path: Path) -> None:
    await database.close()
    again = open_database(f"sqlite:///{path}")
    await again.write(lambda _: None)
    assert await latest(again) == 0
    await again.close()


async def test_nothing_is_stored_of_work_that_raises(database: Database) -> None:
    def refused(session: Session) -> None:
        number(session)
        raise ConflictError("no")

    with pytest.raises(ConflictError):
        await database.write(refused)
    assert await latest(database) == 0
    assert await record(database) == 1


async def test_a_caller_that_is_cancelled_doesnt_stop_its_work_half_way(
    database: Database,
) -> None:
    held = Held()
    task = asyncio.create_task(database.write(held))
    await held.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    held.let_go()
    assert await record(database) == 2


async def test_cancelled_anywhere_a_write_leaves_a_database_that_works(
    database: Database,
) -> None:
    for steps in range(60):
        task = asyncio.create_task(record(database))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    # The first one was cancelled before it could ask.
    assert await record(database) == 60
    assert await latest(database) == 60


async def test_writers_take_turns_and_numbers_have_no_gaps(database: Database) -> None:
    numbers = await asyncio.gather(*(record(database) for _ in range(20)))
    assert sorted(numbers) == list(range(1, 21))


async def test_readers_go_on_beside_a_writer_and_see_the_last_commit(database: Database) -> None:
    await record(database)
    held = Held()
    writing = asyncio.create_task(database.write(held))
    await held.reached.wait()
    assert await latest(database) == 1
    held.let_go()
    assert await writing == 2
    assert await latest(database) == 2


async def test_all_queries_of_a_read_see_one_state(database: Database) -> None:
    loop = asyncio.get_running_loop()

    def look_twice(session: Session) -> tuple[int, int]:
        before = RevisionRepository(session).latest()
        asyncio.run_coroutine_threadsafe(record(database), loop).result(10)
        return before, RevisionRepository(session).latest()

    assert await database.read(look_twice) == (0, 0)
    assert await latest(database) == 1


async def test_readers_dont_wait_for_each_other(database: Database) -> None:
    both_there = threading.Barrier(2, timeout=10)
    await asyncio.gather(*(database.read(lambda _: both_there.wait()) for _ in range(2)))


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


async def test_a_new_database_waits_for_another_process_that_writes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite itself doesn't, as long as the other hasn't switched it to WAL either."""
    database = open_database(f"sqlite:///{path}")
    other = sqlite3.connect(path, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    waits: list[float] = []

    def leave(seconds: float) -> None:
        waits.append(seconds)
        other.rollback()

    monkeypatch.setattr("frontserver.storage.engine.time.sleep", leave)
    try:
        await database.migrate()
    finally:
        other.close()
        await database.close()
    assert len(waits) == 1


async def test_a_new_database_waits_only_so_long(path: Path) -> None:
    database = open_database(f"sqlite:///{path}", busy_ms=50)
    other = sqlite3.connect(path)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="locked"):
            await database.migrate()
    finally:
        other.close()
    await database.migrate()
    await database.close()


async def test_a_full_disk_is_a_storage_error_and_stores_nothing(database: Database) -> None:
    def no_more_pages(session: Session) -> None:
        pragma(session, f"max_page_count={pragma(session, 'page_count')}")

    await database.write(no_more_pages)

    async def fill() -> None:
        while True:
            await record(database)

    with pytest.raises(StorageError, match="full"):
        await fill()
    stored = await latest(database)
    count = text("SELECT count(*) FROM audit")
    assert await database.read(lambda session: session.execute(count).scalar_one()) == stored


async def test_a_read_only_database_is_a_storage_error(database: Database) -> None:
    with pytest.raises(StorageError, match="readonly"):
        await database.read(number)


async def test_a_broken_reference_is_a_storage_error(database: Database) -> None:
    orphan = text("INSERT INTO audit VALUES (7, '{}', NULL)")
    with pytest.raises(StorageError, match="FOREIGN KEY"):
        await database.write(lambda session: session.execute(orphan))


async def test_a_unit_of_work_is_refused_since_its_failure_would_be_everybodys(
    database: Database,
) -> None:
    node = NodeRow(id="one", name="one")
    with pytest.raises(TypeError, match="statements"):
        await database.write(lambda session: session.add(node))
    assert await record(database) == 1


async def test_a_state_directory_that_vanished_is_a_storage_error(
    database: Database, path: Path
) -> None:
    await record(database)
    shutil.rmtree(path.parent)
    with pytest.raises(StorageError, match="can't store"):
        await record(database)


async def test_a_database_that_was_away_is_there_again_and_none_was_made_meanwhile(
    database: Database, path: Path
) -> None:
    await record(database)
    aside = path.with_name("aside")
    move(path, aside)
    with pytest.raises(StorageError):
        await record(database)
    for _ in range(8):
        # Connections that are open still read what is away; new ones find nothing.
        with suppress(StorageError):
            await latest(database)
    move(aside, path)

    assert [await latest(database) for _ in range(8)] == [1] * 8
    assert await record(database) == 2


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
    newer = text("UPDATE alembic_version SET version_num = '9999'")
    await database.write(lambda session: session.execute(newer))
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


async def test_a_database_that_is_closed_says_so_and_may_be_closed_again(
    database: Database,
) -> None:
    await database.close()
    for use in (database.read, database.write):
        with pytest.raises(StorageError, match="closed"):
            await use(lambda _: None)
    await database.close()


async def test_a_ping_tells_a_database_that_answers_from_one_that_doesnt(
    database: Database,
) -> None:
    await database.ping()
    await database.close()
    with pytest.raises(StorageError, match="closed"):
        await database.ping()


async def test_what_was_asked_for_is_finished_when_it_is_closed(
    database: Database, path: Path
) -> None:
    asked = [asyncio.create_task(record(database)) for _ in range(300)]
    await asyncio.sleep(0)
    await database.close()
    assert await asyncio.gather(*asked) == list(range(1, 301))
    assert not path.with_name(f"{path.name}-wal").exists()
