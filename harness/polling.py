"""Waiting for something to become true, instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from harness.errors import HarnessError

T = TypeVar("T")

_PAUSE = 0.02


def until(
    what: str,
    ask: Callable[[], T | None],
    *,
    seconds: float = 20.0,
    quiet: tuple[type[Exception], ...] = (),
    detail: Callable[[], str] = str,
) -> T:
    """The first true answer of `ask`, asked again and again for at most `seconds`.

    Errors of the `quiet` kinds count as "not yet". Raises `HarnessError`, which tells `what`
    didn't come true, the last answer or error, and `detail`.
    """
    deadline = time.monotonic() + seconds
    last = "never asked"
    while True:
        try:
            answer = ask()
        except quiet as error:
            last = f"{type(error).__name__}: {error}"
        else:
            if answer:
                return answer
            last = repr(answer)
        if time.monotonic() >= deadline:
            raise HarnessError(f"not within {seconds:g} s: {what} (last: {last})\n{detail()}")
        time.sleep(_PAUSE)
