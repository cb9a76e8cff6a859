"""Group commit: one for all who wait, and no less durable or less alone for that."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import event, text

from frontserver.errors import ConflictError, StorageError
from frontserver.storage.engine import Database, open_database
from frontserver.storage.revisions import RevisionRepository
from frontserver.storage.session import Session
from tests.unit.storage.rows import CHANGE, NOW


def number(session: Session) -> int:
    return RevisionRepository(session).record(CHANGE, NOW)


def conflict(session: Session) -> int:
    number(session)
    raise ConflictError("no")


async def count_rows(database: Database) -> int:
    rows = text("SELECT count(*) FROM revisions")
    return await database.read(lambda session: int(session.execute(rows).scalar_one()))


class Commits:
    """Counts what the writer commits; `before` runs in its thread ahead of each commit."""

    def __init__(self, database: Database, before: Callable[[], None] | None = None) -> None:
        self.count = 0
        self._before = before
        event.listen(database._write_engine, "commit", self._committed)

    def _committed(self, _: object) -> None:
        self.count += 1
        if self._before is not None:
            self._before()


async def gathered(
    database: Database, *works: Callable[[Session], int]
) -> list[int | BaseException]:
    """What becomes of works that come while the writer is busy, and so all wait together."""
    loop = asyncio.get_running_loop()
    busy, go_on = asyncio.Event(), threading.Event()

    def keep_busy(_: Session) -> None:
        loop.call_soon_threadsafe(busy.set)
        assert go_on.wait(10)

    gate = asyncio.create_task(database.write(keep_busy))
    await busy.wait()
    waiting = [asyncio.create_task(database.write(work)) for work in works]
    await asyncio.sleep(0)
    go_on.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    await asyncio.gather(gate, return_exceptions=True)
    return answers


async def test_all_who_wait_share_one_commit(database: Database) -> None:
    commits = Commits(database)
    numbers = await gathered(database, *[number] * 100)
    assert numbers == list(range(1, 101))
    # The other one is of what kept the writer busy.
    assert commits.count == 1 + 1
    assert await count_rows(database) == 100


async def test_the_order_is_that_of_the_calls(database: Database) -> None:
    order: list[int] = []

    def noted(place: int) -> Callable[[Session], int]:
        def work(_: Session) -> int:
            order.append(place)
            return place

        return work

    assert await gathered(database, *(noted(place) for place in range(50))) == list(range(50))
    assert order == list(range(50))


async def test_one_that_raises_is_undone_alone_and_leaves_no_gap(database: Database) -> None:
    answers = await gathered(database, number, conflict, number, conflict, number)
    assert [answer for answer in answers if isinstance(answer, int)] == [1, 2, 3]
    assert [type(answer) for answer in answers if not isinstance(answer, int)] == [
        ConflictError,
        ConflictError,
    ]
    assert await count_rows(database) == 3


async def test_one_that_the_database_refuses_is_undone_alone(database: Database) -> None:
    def orphan(session: Session) -> int:
        number(session)
        session.execute(text("INSERT INTO audit VALUES (777, '{}', NULL)"))
        return 0

    first, refused, last = await gathered(database, number, orphan, number)
    assert (first, last) == (1, 2)
    assert isinstance(refused, StorageError)
    assert await count_rows(database) == 2


async def test_each_sees_what_those_before_it_did(database: Database) -> None:
    def seen(session: Session) -> int:
        return RevisionRepository(session).latest()

    answers = await gathered(database, seen, number, seen, conflict, seen)
    assert [*answers[:3], answers[4]] == [0, 1, 1, 1]


async def test_a_commit_that_fails_fails_all_of_them(database: Database) -> None:
    def disk_on_fire() -> None:
        raise OSError("disk on fire")

    commits = Commits(database, disk_on_fire)
    errors = await gathered(database, number, number, number)
    assert "can't store: disk on fire" in str(errors[0])
    assert [str(error) for error in errors] == [str(errors[0])] * 3
    assert len({id(error) for error in errors}) == 3
    assert await count_rows(database) == 0
    commits._before = None
    assert await database.write(number) == 1


async def test_a_transaction_that_the_database_gave_up_fails_all_of_them(
    database: Database,
) -> None:
    def give_up(session: Session) -> int:
        session.execute(text("ROLLBACK"))
        return 0

    answers = await gathered(database, number, give_up, number)
    assert [type(answer) for answer in answers] == [StorageError] * 3
    assert await count_rows(database) == 0
    assert await database.write(number) == 1


async def test_they_are_told_why_the_database_gave_up(database: Database) -> None:
    def out_of_room(session: Session) -> int:
        session.execute(text("ROLLBACK"))
        raise StorageError("the disk is full", hint="make room")

    first, failed, last = await gathered(database, number, out_of_room, number)
    assert str(failed) == "the disk is full (make room)"
    for answer in (first, last):
        assert isinstance(answer, StorageError)
        assert "the disk is full" in answer.message
        assert answer.hint == "make room"


async def test_numbers_follow_another_process_between_commits(
    database: Database, path: Path
) -> None:
    other = open_database(f"sqlite:///{path}")
    numbers = [await one.write(number) for one in (database, other, other, database, other)]
    assert numbers == [1, 2, 3, 4, 5]
    await other.close()


async def test_a_group_has_a_bound(database: Database) -> None:
    commits = Commits(database)
    assert await gathered(database, *[number] * 600) == list(range(1, 601))
    assert commits.count == 1 + 3


_CHILD = """
import asyncio, sys
from frontserver.storage.engine import open_database
from tests.unit.storage.test_group_commit import number

async def main():
    database = open_database(f"sqlite:///{sys.argv[1]}")
    async def write():
        while True:
            print(await database.write(number), flush=True)
    await asyncio.gather(*(write() for _ in range(8)))

asyncio.run(main())
"""


def answered_until_killed(path: Path) -> set[int]:
    """The numbers that a process gave out, at least 200, before it was killed."""
    command = [sys.executable, "-c", _CHILD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            answered = {int(child.stdout.readline()) for _ in range(200)}
        finally:
            child.kill()
        # The last line may have been cut short.
        return answered | {int(line) for line in child.stdout if line.endswith("\n")}


async def test_what_was_answered_outlives_a_kill(database: Database, path: Path) -> None:
    answered = await asyncio.to_thread(answered_until_killed, path)
    numbers = text("SELECT number FROM revisions ORDER BY number")
    stored = await database.read(lambda session: session.execute(numbers).scalars().all())
    assert answered <= set(stored)
    assert stored == list(range(1, len(stored) + 1))
