"""Whether tokens count is remembered, and a revocation counts at once all the same."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from frontserver.errors import AuthenticationError
from frontserver.model.names import AgentId
from frontserver.services.validity import TokenValidity
from frontserver.storage.agents import AgentRepository
from frontserver.storage.engine import Database, open_database
from frontserver.storage.session import Session
from tests.unit.services.house import AGENT, PEER, SELF, House
from tests.unit.storage.rows import agent

T = TypeVar("T")


class CountingDatabase(Database):
    """Counts reads, and can hold back what they found until it is told to go on."""

    reads = 0
    held: asyncio.Event | None = None
    found: asyncio.Event

    async def read(self, work: Callable[[Session], T]) -> T:
        self.reads += 1
        value = await super().read(work)
        if self.held is not None:
            self.found.set()
            await self.held.wait()
        return value


class Seconds:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def counting(tmp_path: Path) -> AsyncIterator[CountingDatabase]:
    plain = open_database(f"sqlite:///{tmp_path / 'state.sqlite3'}")
    database = CountingDatabase(plain._write_engine.url, plain._path, plain._identity, 50)
    await database.migrate()
    await put(database, 1.5)
    yield database
    await database.close()


async def put(database: Database, valid_after: float) -> None:
    record = msgspec.structs.replace(agent(AGENT), tokens_valid_after=valid_after)
    await database.write(lambda session: AgentRepository(session).put(record))


async def remove(database: Database) -> None:
    await database.write(lambda session: AgentRepository(session).remove(AGENT))


async def test_it_is_read_once_and_then_remembered(counting: CountingDatabase) -> None:
    validity = TokenValidity(counting, clock=Seconds())
    assert [await validity.since(AGENT) for _ in range(5)] == [1.5] * 5
    assert counting.reads == 1


async def test_a_change_counts_from_the_moment_it_is_stored(counting: CountingDatabase) -> None:
    validity = TokenValidity(counting, clock=Seconds())
    assert await validity.since(AGENT) == 1.5
    await put(counting, 2.5)
    assert await validity.since(AGENT) == 2.5
    await remove(counting)
    assert await validity.since(AGENT) is None
    await put(counting, 3.5)
    assert await validity.since(AGENT) == 3.5


async def test_a_change_of_one_agent_leaves_the_others_remembered(
    counting: CountingDatabase,
) -> None:
    validity = TokenValidity(counting, clock=Seconds())
    await validity.since(AGENT)
    other = agent("host-8")
    await counting.write(lambda session: AgentRepository(session).put(other))
    reads = counting.reads
    assert await validity.since(AGENT) == 1.5
    assert counting.reads == reads


async def test_a_change_counts_even_if_whoever_asked_for_it_is_gone(
    counting: CountingDatabase,
) -> None:
    validity = TokenValidity(counting, clock=Seconds())
    assert await validity.since(AGENT) == 1.5
    changing = asyncio.create_task(put(counting, 2.5))
    await asyncio.sleep(0)
    changing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await changing
    # Whatever is stored after it, is answered after it.
    await counting.write(lambda _: None)
    assert await validity.since(AGENT) == 2.5


async def test_a_reader_that_was_overtaken_by_a_change_is_not_remembered(
    counting: CountingDatabase,
) -> None:
    validity = TokenValidity(counting, clock=Seconds())
    counting.held, counting.found = asyncio.Event(), asyncio.Event()
    overtaken = asyncio.create_task(validity.since(AGENT))
    await counting.found.wait()
    await put(counting, 2.5)
    counting.held.set()
    # It began before the change was stored, so that both answers are right for this one.
    assert await overtaken == 1.5
    assert await validity.since(AGENT) == 2.5


async def test_an_agent_that_isnt_there_is_not_remembered(counting: CountingDatabase) -> None:
    validity = TokenValidity(counting, clock=Seconds())
    nobody = AgentId("nobody")
    assert [await validity.since(nobody) for _ in range(2)] == [None, None]
    assert counting.reads == 2


async def test_another_process_is_noticed_within_a_second(counting: CountingDatabase) -> None:
    clock = Seconds()
    validity = TokenValidity(counting, clock=clock)
    assert await validity.since(AGENT) == 1.5
    other = open_database(f"sqlite:///{counting._path}")
    await put(other, 2.5)
    await other.close()
    clock.now += 1
    assert await validity.since(AGENT) == 2.5


async def token_of(house: House) -> str:
    """A new token of the agent."""
    era = await house.database.read(
        lambda session: AgentRepository(session).tokens_valid_after(AGENT)
    )
    assert era is not None
    return house.tokens.issue(AGENT, era).token


@pytest.mark.parametrize("seconds", [0, -1, -3600])
async def test_a_clock_that_is_set_back_revokes_nothing(house: House, seconds: int) -> None:
    """Nor does it keep a revocation from counting."""
    await house.join()
    house.clock.pass_by(seconds=seconds)
    token = await token_of(house)
    assert await house.agents.principal_from_token(token) == SELF
    await house.agents.rotate_key(AGENT, "another key, long enough", SELF, peer=PEER)
    with pytest.raises(AuthenticationError):
        await house.agents.principal_from_token(token)
    assert await house.agents.principal_from_token(await token_of(house)) == SELF


async def test_an_old_token_that_tells_no_era_counts_by_its_time(house: House) -> None:
    await house.join()
    issue = house.tokens.issue
    unknown: Any = None
    old = issue(AGENT, unknown).token
    assert await house.agents.principal_from_token(old) == SELF
    house.clock.pass_by(seconds=1)
    await house.agents.rotate_key(AGENT, "another key, long enough", SELF, peer=PEER)
    with pytest.raises(AuthenticationError):
        await house.agents.principal_from_token(old)


async def test_a_token_is_refused_as_soon_as_its_revocation_is_answered(house: House) -> None:
    await house.join()
    token = await token_of(house)
    assert await house.agents.principal_from_token(token) == SELF
    house.clock.pass_by(seconds=1)
    await house.agents.rotate_key(AGENT, "another key, long enough", SELF, peer=PEER)
    with pytest.raises(AuthenticationError):
        await house.agents.principal_from_token(token)


async def test_no_token_slips_through_while_keys_are_rotated(house: House) -> None:
    await house.join()
    await house.agents.principal_from_token(await token_of(house))

    async def rotate_and_check(number: int) -> None:
        token = await token_of(house)
        house.clock.pass_by(seconds=1)
        key = f"another key, long enough {number}"
        await house.agents.rotate_key(AGENT, key, SELF, peer=PEER)
        with pytest.raises(AuthenticationError):
            await house.agents.principal_from_token(token)

    async def ask_all_the_time() -> None:
        while True:
            token = await token_of(house)
            with contextlib.suppress(AuthenticationError):
                await house.agents.principal_from_token(token)
            await asyncio.sleep(0)

    asking = [asyncio.create_task(ask_all_the_time()) for _ in range(4)]
    for number in range(10):
        await rotate_and_check(number)
    for task in asking:
        task.cancel()
    await asyncio.wait(asking)
