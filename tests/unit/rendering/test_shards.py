"""However many routes and profiles there are, few files hold them, and each slot is in one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontserver.planning.compile import HTTP_PROFILE
from frontserver.planning.compiled import Profile
from frontserver.planning.layout import Pool, backend_name
from frontserver.rendering.shards import (
    SHARDS,
    STRETCH_SLOTS,
    divided,
    shard_at,
    shard_name,
    shard_of,
    slots_in,
    stretches,
)

# What HAProxy 2.8 and 3.0 can pass on: Linux' MAX_ARG_STRLEN.
_MOST_BYTES = 128 * 1024
_LONG_PATH = 240


def pool(number: int, size: int, extra: frozenset[int] = frozenset()) -> Pool:
    """A pool of a profile of its own."""
    profile = Profile(mode="http", balance=f"uri {number}")
    return msgspec.structs.replace(Pool(profile, size), extra=extra)


def by_id(*some: Pool) -> dict[str, Pool]:
    return {each.profile.id: each for each in some}


def backends(pools: Mapping[str, Pool], shard: int) -> list[str]:
    """What a file holds, in its order."""
    return [
        backend_name(each.profile.id, slot)
        for each, stretch in divided(pools, [shard]).get(shard, ())
        for slot in slots_in(each, stretch)
    ]


def test_a_pool_is_divided_into_stretches() -> None:
    large = Pool(HTTP_PROFILE, STRETCH_SLOTS * 2 + 1)
    assert [len(slots_in(large, n)) for n in range(3)] == [STRETCH_SLOTS, STRETCH_SLOTS, 1]
    assert stretches(large) == 3
    assert stretches(Pool(HTTP_PROFILE, 0)) == 0
    assert stretches(Pool(HTTP_PROFILE, STRETCH_SLOTS)) == 1


@given(
    sizes=st.lists(st.integers(0, 5 * STRETCH_SLOTS), max_size=6),
    extra=st.frozensets(st.integers(0, 700), max_size=3),
)
def test_each_slot_is_in_the_file_that_is_named_for_it(
    sizes: list[int], extra: frozenset[int]
) -> None:
    pools = by_id(
        *(
            pool(number, size, frozenset(slot for slot in extra if slot >= size))
            for number, size in enumerate(sizes)
        )
    )
    found = {shard: backends(pools, shard) for shard in divided(pools)}
    assert all(shard_of(name) == shard for shard, names in found.items() for name in names)
    every = Counter(name for names in found.values() for name in names)
    assert every == Counter(
        backend_name(each.profile.id, slot)
        for each in pools.values()
        for slot in {*range(each.size), *each.extra}
    )


@pytest.mark.parametrize(
    "pools",
    [
        by_id(pool(0, 1_000_000)),
        by_id(*(pool(number, 1) for number in range(5000))),
        by_id(*(pool(number, 10_000) for number in range(20))),
    ],
    ids=["many routes", "many profiles", "both"],
)
def test_haproxy_can_pass_on_the_names_of_all_files(pools: dict[str, Pool]) -> None:
    names = [shard_name(shard) for shard in divided(pools)]
    assert len(set(names)) == len(names) <= SHARDS
    assert sum(_LONG_PATH + len("/;") + len(name) for name in names) < _MOST_BYTES


def test_files_are_about_as_full_as_one_another() -> None:
    pools = by_id(*(pool(number, 10_000) for number in range(20)))
    fullness = [len(backends(pools, shard)) for shard in divided(pools)]
    assert max(fullness) < 3 * sum(fullness) / len(fullness)


def test_a_stretch_stays_where_it_is_when_its_pool_grows() -> None:
    small, large = by_id(pool(0, 100), pool(1, 3)), by_id(pool(0, 900), pool(1, 3))
    for shard in divided(small):
        assert set(backends(small, shard)) <= set(backends(large, shard))


def test_long_pools_go_round() -> None:
    (profile_id,) = by_id(pool(0, 1))
    assert shard_at(profile_id, 0) == shard_at(profile_id, SHARDS)
    assert shard_at(profile_id, 0) != shard_at(profile_id, 1)
