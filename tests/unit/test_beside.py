"""Computing beside the event loop: in short turns, and as long as anybody computes."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator

import pytest

from frontserver.beside import beside, short_turns

USUAL = 0.004
SHORT = pytest.approx(0.0001)


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(USUAL)
    yield
    sys.setswitchinterval(before)


def interval() -> float:
    return round(sys.getswitchinterval(), 6)


async def test_work_is_done_in_a_thread_in_short_turns() -> None:
    def work(one: int, *, other: int) -> tuple[int, str, float]:
        return one + other, threading.current_thread().name, interval()

    total, name, turn = await beside(work, 1, other=2)
    assert (total, turn) == (3, SHORT)
    assert name != threading.current_thread().name
    assert interval() == USUAL


async def test_turns_stay_short_until_the_last_one_is_done() -> None:
    first, second = threading.Event(), threading.Event()
    one = asyncio.create_task(beside(first.wait, 10))
    other = asyncio.create_task(beside(second.wait, 10))
    await asyncio.sleep(0)
    first.set()
    assert await one
    assert interval() == SHORT
    second.set()
    assert await other
    assert interval() == USUAL


async def test_what_the_work_raises_is_raised_and_ends_short_turns() -> None:
    def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await beside(work)
    assert interval() == USUAL


def test_turns_that_are_shorter_already_stay_so() -> None:
    sys.setswitchinterval(0.00002)
    before = interval()
    with short_turns():
        assert interval() == before
    assert interval() == before
