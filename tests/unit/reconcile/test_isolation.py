"""Finding culprits costs few tries, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from frontserver.errors import ConfigRejectedError
from frontserver.reconcile.isolation import MOST_FOUND, isolate

ERROR = ConfigRejectedError("all together")


class Tries:
    """Refuses what `refuses` says, and remembers what it was asked."""

    def __init__(self, refuses: Callable[[Sequence[int]], bool]) -> None:
        self.asked: list[list[int]] = []
        self._refuses = refuses

    async def __call__(self, chosen: Sequence[int]) -> None:
        self.asked.append(list(chosen))
        if self._refuses(chosen):
            raise ConfigRejectedError(f"{len(chosen)} of them")

    @property
    def last_good(self) -> list[int]:
        """What the last try held that wasn't refused."""
        return next(some for some in reversed(self.asked) if not self._refuses(some))


async def test_each_culprit_is_found_while_they_are_few() -> None:
    culprits = {3, 500, 501, 999}
    tries = Tries(lambda some: bool(culprits & set(some)))

    refused = await isolate(range(1000), tries, ERROR)

    assert refused.keys() == culprits
    assert refused[3].endswith("of them")
    assert len(tries.asked) <= 4 * 2 * 10 + 1
    assert set(tries.last_good) == set(range(1000)) - culprits


async def test_too_many_together_are_told_apart_in_few_tries() -> None:
    """HAProxy runs out of something: whoever comes last doesn't fit."""
    tries = Tries(lambda some: len(some) > 61_000)

    refused = await isolate(range(100_000), tries, ERROR)

    assert len(tries.asked) < 120
    assert set(tries.last_good) == set(range(100_000)) - refused.keys()
    assert len(tries.last_good) == 61_000


async def test_many_culprits_take_few_tries() -> None:
    tries = Tries(lambda some: any(each % 2 for each in some))

    refused = await isolate(range(10_000), tries, ERROR)

    assert len(tries.asked) < 100
    assert len(refused) > MOST_FOUND
    assert not any(each % 2 for each in set(range(10_000)) - refused.keys())
    assert set(tries.last_good) == set(range(10_000)) - refused.keys()


async def test_whoever_is_fine_gets_in_if_those_refused_are_tried_again() -> None:
    tries = Tries(lambda some: any(each % 10 == 0 for each in some))
    left: Sequence[int] = range(1000)
    for _ in range(100):
        left = list(await isolate(left, tries, ERROR))
        if all(each % 10 == 0 for each in left):
            break
    assert sorted(left) == list(range(0, 1000, 10))


async def test_if_nothing_can_be_loaded_nobody_is_to_blame() -> None:
    tries = Tries(lambda _: True)

    with pytest.raises(ConfigRejectedError, match="0 of them"):
        await isolate(range(10), tries, ERROR)
