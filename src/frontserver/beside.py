"""Long computing in a thread, beside an event loop that goes on answering."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# Seconds that a thread keeps the interpreter while others want it. Short turns cost whoever shares
# it with others all the time (the database's thread) a tenth of its speed.
_TURN = 0.0001

_usual = 0.0
_inside = 0


@contextmanager
def short_turns() -> Iterator[None]:
    """Within the block, threads that compute give way sooner (`sys.setswitchinterval`).

    A request gives the interpreter away with each call to the system, and has it back only when
    the thread's turn is over: with turns as long as usual, 5 ms, some dozens of calls take 0.3 s.
    For one event loop: blocks in different threads don't mix.
    """
    global _usual, _inside
    if not _inside:
        _usual = sys.getswitchinterval()
        sys.setswitchinterval(min(_usual, _TURN))
    _inside += 1
    try:
        yield
    finally:
        _inside -= 1
        if not _inside:
            sys.setswitchinterval(_usual)


async def beside(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` returns or raises; it computes in a thread, in short turns."""
    with short_turns():
        return await asyncio.to_thread(work, *args, **kwargs)
