"""Strangers who try keys, and agents who log in meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from frontserver.errors import TooManyRequestsError
from frontserver.security.keys import KeyHasher, VerifiedKeys
from frontserver.security.throttle import Throttle
from frontserver.services.credentials import KeyCheck
from tests.unit.reconcile.world import until
from tests.unit.security.samples import Seconds

KEY = "the right key"
STRANGER, ELSEWHERE = "203.0.113.9", "198.51.100.7"


class GatedHasher(KeyHasher):
    """Holds every hash until it is opened; 10 places, of which 2 are kept and 1 is for failing."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_kib=8, concurrency=2, waiting=8, kept=2, failing=1)
        self.open = threading.Event()
        self.open.set()

    def verify(self, stored_hash: str, key: str) -> bool:
        assert self.open.wait(10)
        return super().verify(stored_hash, key)


@pytest.fixture
def hasher() -> Iterator[GatedHasher]:
    hasher = GatedHasher()
    yield hasher
    hasher.open.set()
    hasher.close()


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def check(hasher: GatedHasher, clock: Seconds) -> KeyCheck:
    throttle = Throttle(clock=clock, peer_burst=4, window=40)
    return KeyCheck(hasher, throttle, VerifiedKeys(clock=clock))


@pytest.fixture
async def stored(check: KeyCheck) -> str:
    return await check.hash(KEY)


class Strangers:
    """Attempts with a wrong key, each for another agent, that are under way or were refused."""

    def __init__(self, check: KeyCheck) -> None:
        self._check = check
        self._number = 0
        self.tasks: list[asyncio.Task[bool]] = []

    async def attempt(self, times: int, peer: str = STRANGER) -> int:
        """Try so often at once; returns how many were refused a place."""
        tasks = []
        for _ in range(times):
            self._number += 1
            attempt = self._check.matches(f"nobody-{self._number}", "a wrong key", None, peer)
            tasks.append(asyncio.create_task(attempt))
        self.tasks += tasks
        return len([task for task in tasks if await is_refused(task)])


async def is_refused(task: asyncio.Task[bool]) -> bool:
    """Whether there was no place for it: that is decided before it waits for anything."""
    await asyncio.wait({task}, timeout=0.01)
    return task.done() and isinstance(task.exception(), TooManyRequestsError)


@pytest.fixture
async def strangers(check: KeyCheck, hasher: GatedHasher) -> AsyncIterator[Strangers]:
    strangers = Strangers(check)
    yield strangers
    hasher.open.set()
    await asyncio.gather(*strangers.tasks, return_exceptions=True)


async def test_one_address_can_not_have_all_places_however_many_agents_it_names(
    check: KeyCheck, hasher: GatedHasher, strangers: Strangers, stored: str
) -> None:
    hasher.open.clear()
    assert await strangers.attempt(20) == 20 - 4 - 1
    agent = asyncio.create_task(check.matches("host-7", KEY, stored, ELSEWHERE))
    assert not await is_refused(agent)
    hasher.open.set()
    assert await agent


async def test_an_address_that_failed_often_has_a_few_places_and_is_not_shut_out(
    check: KeyCheck, hasher: GatedHasher, strangers: Strangers, stored: str, clock: Seconds
) -> None:
    """An agent may be behind the same one."""
    await strangers.attempt(4)
    await until(lambda: all(task.done() for task in strangers.tasks))
    hasher.open.clear()
    assert await strangers.attempt(3) == 2
    hasher.open.set()
    await until(lambda: all(task.done() for task in strangers.tasks))

    assert await check.matches("host-7", KEY, stored, STRANGER)

    clock.now += 40
    hasher.open.clear()
    assert await strangers.attempt(5) == 0, "after a quiet while it is as any other"


async def test_whoever_logged_in_lately_gets_in_while_strangers_of_many_addresses_try(
    check: KeyCheck, hasher: GatedHasher, strangers: Strangers, stored: str, clock: Seconds
) -> None:
    assert await check.matches("host-7", KEY, stored, ELSEWHERE)
    clock.now += 86_400
    hasher.open.clear()
    refused = [await strangers.attempt(4, f"192.0.2.{number}") for number in range(4)]
    assert refused[-1] == 4
    agent = asyncio.create_task(check.matches("host-7", KEY, stored, ELSEWHERE))
    newcomer = asyncio.create_task(check.matches("host-8", KEY, stored, "198.51.100.8"))
    assert await is_refused(newcomer)
    assert not await is_refused(agent)
    hasher.open.set()
    assert await agent


async def test_the_places_that_are_kept_tell_nobody_which_agents_there_are(
    check: KeyCheck, hasher: GatedHasher, strangers: Strangers, stored: str
) -> None:
    assert await check.matches("host-7", KEY, stored, STRANGER)
    hasher.open.clear()
    for number in range(4):
        await strangers.attempt(4, f"192.0.2.{number}")
    answers = []
    for agent, known in (("host-7", stored), ("host-8", None)):
        with pytest.raises(TooManyRequestsError) as refused:
            await check.matches(agent, "a wrong key", known, STRANGER)
        answers.append(str(refused.value))
    assert answers[0] == answers[1]


async def test_right_keys_do_not_count_however_many_come_from_one_address(
    check: KeyCheck, stored: str
) -> None:
    for number in range(20):
        assert await check.matches(f"host-{number}", KEY, stored, STRANGER)
    hashes = [await check.hash(KEY, stranger=STRANGER) for _ in range(20)]
    assert len(set(hashes)) == 20


async def test_what_was_refused_a_place_is_no_failure(
    check: KeyCheck, hasher: GatedHasher, strangers: Strangers, stored: str
) -> None:
    hasher.open.clear()
    for number in range(4):
        await strangers.attempt(4, f"192.0.2.{number}")
    assert await strangers.attempt(20, ELSEWHERE) == 20
    hasher.open.set()
    await asyncio.gather(*strangers.tasks, return_exceptions=True)
    hasher.open.clear()
    assert await strangers.attempt(4, ELSEWHERE) == 0
