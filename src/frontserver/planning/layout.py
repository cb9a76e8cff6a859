"""Which backend each route occupies.

A profile in use has a pool of static backends, its slots; HAProxy loaded them empty, so a route
takes one without a reload. Slot 17 of profile `p1f…` is the backend `p1f….17`. Where HAProxy can
make backends at run time, a pool that ran dry grows by extra slots, which the next reload makes
ordinary ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import ceil

import msgspec
from immutables import Map

from frontserver.model.routes import RouteKey
from frontserver.planning.compiled import Profile

# Below this many routes a profile gets no spare slots: tenants invent many that stay rare.
HANDFUL = 4
SPARE_SHARE = 0.25
LOW_WATER_SHARE = 0.2
# A pool that is used up soon after it was filled gets so many times the room it had, up to a bound.
HOT_GROWTH = 4
HOT_SPARE = 2048
# While more of that room is left than this share, it has room enough.
HOT_ENOUGH_SHARE = 0.75
# A pool that nobody uses stays for so many reloads: its routes may be back, and cost one each.
KEPT_UNUSED = 8

# One spelling a slot: `p1f….07` is no backend of ours.
_BACKEND = re.compile(r"(?P<profile>[^.]+)\.(?P<slot>0|[1-9][0-9]{0,8})")


class PoolPolicy(msgspec.Struct, frozen=True):
    """How many empty slots to keep. `standard` profiles always have `spare` of them."""

    standard: tuple[Profile, ...] = ()
    spare: int = 64

    def wanted(self, profile: Profile, used: int) -> int:
        """The slots a pool should have after the next reload, `used` of them occupied."""
        if profile in self.standard:
            return used + max(self.spare, ceil(used * SPARE_SHARE))
        if used < HANDFUL:
            return used
        return used + max(HANDFUL, ceil(used * SPARE_SHARE))

    def wanted_when_hot(self, pool: Pool, demand: int) -> int:
        """Likewise for a pool that was filled a short while ago, for `demand` routes more.

        One that is in use already grows by a multiple, whether or not it is the one that ran low:
        it would be the next. One that still has its room keeps it, and grows no further.
        """
        used = pool.used + demand
        wanted = self.wanted(pool.profile, used)
        if pool.spare >= demand and pool.spare > pool.room * HOT_ENOUGH_SHARE:
            return max(wanted, pool.size)
        if used < HANDFUL:
            return wanted
        room = min(HOT_SPARE, HOT_GROWTH * max(pool.room, HANDFUL))
        return max(wanted, used + room)

    def is_low(self, pool: Pool, *, hot: bool = False) -> bool:
        """Whether the pool should be refilled before it runs dry."""
        wanted = self.wanted(pool.profile, pool.used) - pool.used
        if hot:
            wanted = max(wanted, pool.room)
        return wanted > 0 and pool.spare <= wanted * LOW_WATER_SHARE


class Pool(msgspec.Struct, frozen=True):
    """The slots 0 to `size - 1` of a profile as HAProxy has loaded them, and `extra` ones.

    Slots from `fresh` on were never used; `returned` were, and are free again; `resting` are
    out of use until their backend is seen idle or HAProxy reloads. `room` is how many were free
    when the pool was loaded, as far as that is known; `unused` is how many reloads it has outlived
    without a route.
    """

    profile: Profile
    size: int
    fresh: int = 0
    returned: tuple[int, ...] = ()
    resting: frozenset[int] = frozenset()
    room: int = 0
    extra: frozenset[int] = frozenset()
    unused: int = 0

    @property
    def spare(self) -> int:
        return self.size - self.fresh + len(self.returned)

    @property
    def used(self) -> int:
        return self.fresh + len(self.extra) - len(self.returned) - len(self.resting)

    @property
    def end(self) -> int:
        """The number after the last slot."""
        return max(self.size, max(self.extra, default=-1) + 1)

    def take(self) -> tuple[Pool, int]:
        """A free slot, never-used ones first, then the one that rested longest, then an extra."""
        if self.fresh < self.size:
            return msgspec.structs.replace(self, fresh=self.fresh + 1), self.fresh
        if self.returned:
            return msgspec.structs.replace(self, returned=self.returned[1:]), self.returned[0]
        return msgspec.structs.replace(self, extra=self.extra | {self.end}), self.end

    def rest(self, slot: int) -> Pool:
        """The slot is empty but may still have a stream: don't hand it out."""
        return msgspec.structs.replace(self, resting=self.resting | {slot})

    def give_back(self, slot: int) -> Pool:
        """The slot was seen idle: it may serve another route; an extra one was taken away."""
        if slot in self.extra:
            return msgspec.structs.replace(
                self, resting=self.resting - {slot}, extra=self.extra - {slot}
            )
        return msgspec.structs.replace(
            self, resting=self.resting - {slot}, returned=(*self.returned, slot)
        )

    def reloaded(self, size: int) -> Pool:
        """After a reload: `size` slots, and none has a past or is extra."""
        fresh = self.end if self.extra else self.fresh
        unused = (slot for slot in range(self.fresh, fresh) if slot not in self.extra)
        return Pool(
            self.profile,
            size=max(size, fresh),
            fresh=fresh,
            returned=(*self.returned, *sorted(self.resting), *unused),
        )

    def with_room_for(self, demand: int) -> Pool:
        """For `demand` more routes at least; what is free beside them is its room."""
        size = self.size + max(0, demand - self.spare)
        pool = msgspec.structs.replace(self, size=size)
        return msgspec.structs.replace(pool, room=pool.spare - demand)


class Layout(msgspec.Struct, frozen=True):
    """Pools by profile id, and the backend name of every placed route."""

    pools: Map[str, Pool] = Map()
    slots: Map[RouteKey, str] = Map()

    def free(self, profile: Profile) -> bool:
        """Whether a route of this profile can be placed on a slot that was loaded."""
        pool = self.pools.get(profile.id)
        return pool is not None and pool.spare > 0

    def is_extra(self, backend: str) -> bool:
        """Whether the backend is made at run time."""
        profile_id, slot = slot_of(backend)
        return profile_id in self.pools and slot in self.pools[profile_id].extra

    def place(self, key: RouteKey, profile: Profile) -> Layout:
        """Put the route on a free slot, or on an extra one if there is none."""
        pool, slot = self.pools[profile.id].take()
        return msgspec.structs.replace(
            self,
            pools=self.pools.set(profile.id, pool),
            slots=self.slots.set(key, backend_name(profile.id, slot)),
        )

    def vacate(self, key: RouteKey) -> Layout:
        """Take the route off its slot, which rests."""
        profile_id, slot = slot_of(self.slots[key])
        pool = self.pools[profile_id].rest(slot)
        return msgspec.structs.replace(
            self, pools=self.pools.set(profile_id, pool), slots=self.slots.delete(key)
        )

    def revert(self, key: RouteKey, had: str | None) -> Layout:
        """Undo a placement that failed: the route sits on `had` again, or nowhere."""
        layout = self
        if key in layout.slots and layout.slots[key] != had:
            backend = layout.slots[key]
            layout = layout.vacate(key)
            if layout.is_extra(backend):
                # Undone with the rest.
                layout = layout.give_back(backend)
        if had is None or layout.slots.get(key) == had:
            return layout
        profile_id, slot = slot_of(had)
        pool = layout.pools[profile_id]
        pool = msgspec.structs.replace(pool, resting=pool.resting - {slot})
        return msgspec.structs.replace(
            layout, pools=layout.pools.set(profile_id, pool), slots=layout.slots.set(key, had)
        )

    def give_back(self, backend: str) -> Layout:
        """Let a resting slot serve again. One that doesn't rest stays as it is."""
        profile_id, slot = slot_of(backend)
        pool = self.pools.get(profile_id)
        if pool is None or slot not in pool.resting:
            return self
        return msgspec.structs.replace(self, pools=self.pools.set(profile_id, pool.give_back(slot)))

    def reloaded(
        self,
        demand: Mapping[Profile, int],
        policy: PoolPolicy,
        hot: frozenset[str] = frozenset(),
    ) -> Layout:
        """The layout that the next reload loads: pools grown for `demand` more routes each.

        A pool that isn't standard, and that nobody has used for some reloads, goes. `hot` names
        the profiles whose pools were filled a short while ago: they grow faster if they are in use.
        """
        profiles = {pool.profile for pool in self.pools.values()}
        pools: dict[str, Pool] = {}
        for profile in profiles | set(demand) | set(policy.standard):
            pool = self.pools.get(profile.id) or Pool(profile, 0)
            more = demand.get(profile, 0)
            size = policy.wanted(profile, pool.used + more)
            if size and profile.id in hot:
                size = policy.wanted_when_hot(pool, more)
            if size:
                pools[profile.id] = pool.reloaded(size).with_room_for(more)
            elif pool.size and pool.unused < KEPT_UNUSED:
                unused = pool.unused + 1
                pools[profile.id] = msgspec.structs.replace(pool.reloaded(pool.size), unused=unused)
        return msgspec.structs.replace(self, pools=Map(pools))

    def resized(self, pools: Mapping[str, Pool]) -> Layout | None:
        """After a reload with pools of these profiles and sizes; `None` if a route has no place.

        What the pools say of their slots doesn't count: it may be old.
        """
        if any(pool.used for gone, pool in self.pools.items() if gone not in pools):
            return None
        resized = {
            profile_id: msgspec.structs.replace(
                (self.pools.get(profile_id) or Pool(pool.profile, 0)).reloaded(pool.size),
                room=pool.room,
                unused=pool.unused,
            )
            for profile_id, pool in pools.items()
        }
        if any(resized[profile_id].size != pool.size for profile_id, pool in pools.items()):
            return None
        return msgspec.structs.replace(self, pools=Map(resized))

    def resting(self) -> frozenset[str]:
        """The backends that wait to be seen idle."""
        return frozenset(
            backend_name(profile_id, slot)
            for profile_id, pool in self.pools.items()
            for slot in pool.resting
        )

    def low(self, policy: PoolPolicy, hot: frozenset[str] = frozenset()) -> tuple[Profile, ...]:
        """The profiles whose pools should be refilled soon."""
        return tuple(
            pool.profile
            for profile_id, pool in sorted(self.pools.items())
            if policy.is_low(pool, hot=profile_id in hot)
        )


def backend_name(profile_id: str, slot: int) -> str:
    """The name of a slot's backend."""
    return f"{profile_id}.{slot}"


def slot_of(backend: str) -> tuple[str, int]:
    """Profile id and slot number of a backend's name; `ValueError` if it isn't a slot's."""
    match = _BACKEND.fullmatch(backend)
    if match is None:
        raise ValueError(f"{backend!r} is not the name of a slot")
    return match["profile"], int(match["slot"])


def is_beyond(backend: str, sizes: Mapping[str, int]) -> bool:
    """Whether a backend is a slot of one of these profiles (by id), beyond its pool's size."""
    try:
        profile_id, slot = slot_of(backend)
    except ValueError:
        return False
    return profile_id in sizes and slot >= sizes[profile_id]


def placed(
    pools: Mapping[Profile, int],
    occupied: Mapping[RouteKey, str],
    dirty: Iterable[str] = (),
    extra: Iterable[str] = (),
) -> Layout:
    """The layout of a HAProxy found running: sizes, who sits where, and slots not yet clean.

    `pools` maps each loaded profile to its number of slots, `extra` are the slots beyond; they
    rest unless they are occupied. Backends outside are ignored.
    """
    by_id = {profile.id: profile for profile in pools}
    beyond: dict[str, set[int]] = {profile_id: set() for profile_id in by_id}
    for backend in extra:
        profile_id, slot = slot_of(backend)
        if profile_id in by_id and slot >= pools[by_id[profile_id]]:
            beyond[profile_id].add(slot)
    taken: dict[str, set[int]] = {profile_id: set() for profile_id in by_id}
    resting: dict[str, set[int]] = {profile_id: set() for profile_id in by_id}
    slots: dict[RouteKey, str] = {}
    for key, backend in occupied.items():
        profile_id, slot = slot_of(backend)
        if profile_id in by_id and (slot < pools[by_id[profile_id]] or slot in beyond[profile_id]):
            taken[profile_id].add(slot)
            slots[key] = backend
    for backend in dirty:
        profile_id, slot = slot_of(backend)
        size = pools[by_id[profile_id]] if profile_id in by_id else 0
        if slot < size and slot not in taken[profile_id]:
            resting[profile_id].add(slot)
    return Layout(
        pools=Map(
            {
                profile.id: _found(
                    profile, size, taken[profile.id], resting[profile.id], beyond[profile.id]
                )
                for profile, size in pools.items()
            }
        ),
        slots=Map(slots),
    )


def _found(
    profile: Profile, size: int, taken: set[int], resting: set[int], beyond: set[int]
) -> Pool:
    fresh = max((taken | resting) - beyond, default=-1) + 1
    returned = tuple(slot for slot in range(fresh) if slot not in taken and slot not in resting)
    room = size - fresh + len(returned)
    resting |= beyond - taken
    return Pool(profile, size, fresh, returned, frozenset(resting), room, frozenset(beyond))
