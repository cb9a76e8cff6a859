"""How the slots of all pools are divided among files.

One changed route rewrites one file, so that files must be small; but there must not be many.
HAProxy 2.8 and 3.0 pass the names of all files to their master in one environment variable, and end
if it has more than 128 KiB (execve(2), MAX_ARG_STRLEN): some 2,000 names below a path of usual
length. So the stretches of a pool, 32 slots each, go round `SHARDS` files, from one that the
profile's id gives.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache

from frontserver.planning.layout import Pool, slot_of

STRETCH_SLOTS = 32
# Their names fit below paths of 240 bytes.
SHARDS = 512

# A pool, and the number of a stretch of it.
Stretch = tuple[Pool, int]


def shard_of(backend: str) -> int:
    """The shard that holds a backend."""
    profile_id, slot = slot_of(backend)
    return shard_at(profile_id, slot // STRETCH_SLOTS)


def shard_at(profile_id: str, stretch: int) -> int:
    """The shard that holds a stretch of a profile's pool."""
    return (_first(profile_id) + stretch) % SHARDS


def shard_name(shard: int) -> str:
    """The file of a shard."""
    return f"50-{shard:03d}.cfg"


def stretches(pool: Pool) -> int:
    """How many stretches a pool has."""
    return -(-pool.end // STRETCH_SLOTS)


def slots_in(pool: Pool, stretch: int) -> list[int]:
    """The slots of a stretch that there are."""
    first = stretch * STRETCH_SLOTS
    end = min(first + STRETCH_SLOTS, pool.end)
    return [slot for slot in range(first, end) if slot < pool.size or slot in pool.extra]


def divided(
    pools: Mapping[str, Pool], only: Iterable[int] | None = None
) -> dict[int, list[Stretch]]:
    """What is in each shard that isn't empty, in the order of profile ids; of `only` these."""
    parts: dict[int, list[Stretch]] = defaultdict(list)
    wanted: list[int] | None = None if only is None else sorted(set(only))
    for profile_id, pool in sorted(pools.items()):
        count = stretches(pool)
        if wanted is None:
            numbers: Iterable[int] = range(count)
        else:
            begin = _first(profile_id)
            numbers = (n for s in wanted for n in range((s - begin) % SHARDS, count, SHARDS))
        for number in numbers:
            parts[shard_at(profile_id, number)].append((pool, number))
    return dict(parts)


@lru_cache(maxsize=8192)
def _first(profile_id: str) -> int:
    return zlib.crc32(profile_id.encode()) % SHARDS
