"""Which backend each route occupies, and how many wait for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from immutables import Map

from frontserver.model.routes import RouteKey, RouteKind
from frontserver.planning.compiled import HOSTS, CompiledRoute, Profile
from frontserver.planning.diff import RouteChange
from frontserver.planning.layout import (
    HANDFUL,
    HOT_GROWTH,
    HOT_SPARE,
    KEPT_UNUSED,
    Layout,
    Pool,
    PoolPolicy,
    backend_name,
    is_beyond,
    placed,
    slot_of,
)
from frontserver.planning.plan import lay_out, lay_out_within

STANDARD, RARE = Profile(mode="http"), Profile(mode="http", cookie="C")
POLICY = PoolPolicy((STANDARD,), spare=64)
A, B, C, D = (RouteKey(RouteKind.HTTP, name) for name in "abcd")


def layout(size: int = 4, profile: Profile = STANDARD) -> Layout:
    return Layout().reloaded({}, PoolPolicy((profile,), spare=size))


# --- how many ---


@pytest.mark.parametrize(
    ("profile", "used", "wanted"),
    [
        (STANDARD, 0, 64),
        (STANDARD, 10, 74),
        (STANDARD, 256, 320),
        (STANDARD, 1000, 1250),
        (RARE, 0, 0),
        (RARE, HANDFUL - 1, HANDFUL - 1),
        (RARE, HANDFUL, 2 * HANDFUL),
        (RARE, 16, 20),
        (RARE, 1000, 1250),
    ],
)
def test_pools_grow_with_use(profile: Profile, used: int, wanted: int) -> None:
    assert POLICY.wanted(profile, used) == wanted


@given(st.integers(0, 10_000))
def test_a_pool_never_shrinks_as_it_is_used_more(used: int) -> None:
    for profile in (STANDARD, RARE):
        assert POLICY.wanted(profile, used) >= used
        assert POLICY.wanted(profile, used + 1) > POLICY.wanted(profile, used) - 1


@pytest.mark.parametrize(
    ("pool", "low"),
    [
        (Pool(STANDARD, 64), False),
        (Pool(STANDARD, 64, fresh=40), False),
        (Pool(STANDARD, 64, fresh=52), True),
        (Pool(STANDARD, 64, fresh=64), True),
        (Pool(STANDARD, 64, fresh=64, returned=tuple(range(30))), False),
        (Pool(RARE, 2, fresh=2), False),
        (Pool(RARE, 20, fresh=20), True),
    ],
)
def test_a_pool_is_low_before_it_is_dry(pool: Pool, low: bool) -> None:
    assert POLICY.is_low(pool) is low
    assert Layout().low(POLICY) == ()
    assert Layout(pools=Map({pool.profile.id: pool})).low(POLICY) == (
        (pool.profile,) if low else ()
    )


# --- taking and leaving ---


def test_never_used_slots_go_first_then_those_that_rested_longest() -> None:
    pool = Pool(STANDARD, 3)
    pool, first = pool.take()
    pool, second = pool.take()
    for slot in (second, first):
        pool = pool.rest(slot).give_back(slot)
    taken = []
    while pool.spare:
        pool, slot = pool.take()
        taken.append(slot)
    assert taken == [2, second, first]
    assert pool.used == 3


def test_a_resting_slot_is_neither_used_nor_spare() -> None:
    pool = Pool(STANDARD, 2, fresh=2).rest(0)
    assert (pool.used, pool.spare) == (1, 0)
    assert (pool.give_back(0).used, pool.give_back(0).spare) == (1, 1)


def test_places_are_counted() -> None:
    made = layout(1)
    assert made.free(STANDARD)
    assert not made.free(RARE)
    made = made.place(A, STANDARD)
    assert not made.free(STANDARD)
    assert made.slots[A] == backend_name(STANDARD.id, 0)
    left = made.vacate(A)
    assert A not in left.slots
    assert left.resting() == {made.slots[A]}
    assert not left.free(STANDARD)
    assert left.give_back(made.slots[A]).free(STANDARD)


def test_what_doesnt_rest_cant_be_given_back() -> None:
    made = layout().place(A, STANDARD)
    for backend in (made.slots[A], backend_name(STANDARD.id, 3), "p.9", "punknown.0"):
        assert made.give_back(backend) == made


# --- undoing ---


def test_a_new_route_that_failed_leaves_its_slot_to_rest() -> None:
    made = layout().place(A, STANDARD)
    undone = made.revert(A, None)
    assert A not in undone.slots
    assert undone.resting() == {made.slots[A]}


def test_a_moved_route_that_failed_is_back_where_it_was() -> None:
    before = layout().place(A, STANDARD)
    moved = before.vacate(A).place(A, STANDARD)
    undone = moved.revert(A, before.slots[A])
    assert undone.slots == before.slots
    assert undone.resting() == {moved.slots[A]}


def test_a_removal_that_failed_is_undone() -> None:
    before = layout().place(A, STANDARD)
    undone = before.vacate(A).revert(A, before.slots[A])
    assert undone == before


def test_an_update_in_place_has_nothing_to_undo() -> None:
    made = layout().place(A, STANDARD)
    assert made.revert(A, made.slots[A]) == made
    assert layout().revert(A, None) == layout()


# --- reloads ---


def test_a_reload_brings_pools_for_new_profiles_and_some_later_one_drops_unused_ones() -> None:
    made = layout(4).reloaded({RARE: 2}, POLICY)
    assert {pool.profile: pool.size for pool in made.pools.values()} == {STANDARD: 64, RARE: 2}
    for _ in range(KEPT_UNUSED):
        made = made.reloaded({}, PoolPolicy())
        assert set(made.pools) == {STANDARD.id, RARE.id}
    used = made.place(A, RARE).reloaded({}, PoolPolicy()).pools
    assert (set(used), used[RARE.id].unused) == ({RARE.id}, 0)
    assert dict(made.reloaded({}, PoolPolicy()).pools) == {}


def test_a_reload_wakes_what_rested_and_keeps_everybody_in_place() -> None:
    made = layout().place(A, STANDARD).place(B, STANDARD).vacate(A)
    reloaded = made.reloaded({}, PoolPolicy((STANDARD,), spare=4))
    assert reloaded.resting() == frozenset()
    assert reloaded.slots == made.slots
    assert reloaded.pools[STANDARD.id].returned == (0,)
    assert reloaded.pools[STANDARD.id].size == 5


def test_a_pool_keeps_the_slots_that_are_in_use() -> None:
    """Slot 3 is used: the pool can't shrink below it, however few are wanted."""
    made = layout()
    for key in (A, B, C):
        made = made.place(key, STANDARD)
    made = made.vacate(A).vacate(B)
    shrunk = made.reloaded({}, PoolPolicy())
    assert shrunk.pools[STANDARD.id].size == 3
    assert shrunk.slots[C] == backend_name(STANDARD.id, 2)


def test_there_is_room_for_all_that_is_asked() -> None:
    """Even where a policy wants no spare slot at all."""
    full = layout(1).place(A, STANDARD)
    grown = full.reloaded({STANDARD: 9}, PoolPolicy())
    assert grown.pools[STANDARD.id].spare >= 9


def test_a_deferred_removal_leaves_its_slot() -> None:
    made = lay_out(layout().place(A, STANDARD), [RouteChange(A, None, None)], POLICY)
    assert dict(made.slots) == {}
    assert made.resting() == frozenset()


# --- names ---


@pytest.mark.parametrize(
    "name",
    ["", "p1", "p1.", ".1", "p1.01", "p1.-1", "p1.x", "p1.²", "p1.٣", "p1.1.2", "p1.1 ", "p.1\n"],
)
def test_a_slot_has_one_spelling(name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a slot"):
        slot_of(name)


@given(st.integers(0, 99_999_999))
def test_names_of_slots_read_back(slot: int) -> None:
    assert slot_of(backend_name("p1f", slot)) == ("p1f", slot)


# --- pools that grow at run time ---


def grown(*keys: RouteKey) -> Layout:
    made = Layout(pools=Map({STANDARD.id: Pool(STANDARD, 2)}))
    for key in keys:
        made = made.place(key, STANDARD)
    return made


def test_a_pool_that_is_dry_grows_by_extra_slots() -> None:
    after = grown(A, B, C, D)
    pool = after.pools[STANDARD.id]
    assert sorted(after.slots.values()) == [f"{STANDARD.id}.{n}" for n in range(4)]
    assert (pool.size, pool.used, pool.spare, sorted(pool.extra)) == (2, 4, 0, [2, 3])
    assert [after.is_extra(after.slots[key]) for key in (A, B, C, D)] == [False] * 2 + [True] * 2


def test_an_extra_slot_is_taken_away_when_it_is_idle_and_an_ordinary_one_serves_again() -> None:
    after = grown(A, B, C, D)
    extra, ordinary = after.slots[C], after.slots[A]
    after = after.vacate(C).vacate(A)
    assert after.resting() == {extra, ordinary}
    after = after.give_back(extra).give_back(ordinary)
    pool = after.pools[STANDARD.id]
    assert (pool.used, pool.spare, sorted(pool.extra)) == (2, 1, [3])
    assert after.place(A, STANDARD).slots[A] == ordinary


def test_a_reload_makes_extra_slots_ordinary_ones() -> None:
    after = grown(A, B, C, D).vacate(C).give_back(f"{STANDARD.id}.2")
    reloaded = after.reloaded({}, PoolPolicy((STANDARD,), spare=0))
    pool = reloaded.pools[STANDARD.id]
    assert (pool.extra, pool.size, pool.used) == (frozenset(), 4, 3)
    assert reloaded.slots == after.slots
    assert reloaded.place(C, STANDARD).slots[C] == f"{STANDARD.id}.2"


def test_extra_slots_are_found_again() -> None:
    p = STANDARD.id
    found = placed({STANDARD: 2}, {A: f"{p}.1", B: f"{p}.3"}, (), [f"{p}.3", f"{p}.4", "px.9"])
    pool = found.pools[p]
    assert (pool.size, sorted(pool.extra), pool.resting) == (2, [3, 4], {4})
    assert (pool.used, pool.spare) == (2, 1)
    assert dict(found.slots) == {A: f"{p}.1", B: f"{p}.3"}


# --- what was found running ---


def test_found_slots_are_taken_resting_or_free() -> None:
    p = STANDARD.id
    found = placed({STANDARD: 6, RARE: 2}, {A: f"{p}.1", B: f"{p}.4"}, [f"{p}.2", f"{p}.1"])
    pool = found.pools[p]
    assert (pool.size, pool.fresh, pool.returned, pool.resting) == (6, 5, (0, 3), frozenset({2}))
    assert (pool.used, pool.spare) == (2, 3)
    assert dict(found.slots) == {A: f"{p}.1", B: f"{p}.4"}
    assert found.pools[RARE.id] == Pool(RARE, 2, room=2)


def test_what_lies_outside_of_the_pools_is_ignored() -> None:
    p = STANDARD.id
    found = placed({STANDARD: 2}, {A: f"{p}.2", B: "pother.0"}, ["pother.1", f"{p}.0"])
    assert dict(found.slots) == {}
    assert found.pools[p].resting == {0}


def test_nothing_found_is_an_empty_layout() -> None:
    assert placed({}, {}) == Layout()


# --- pools that are used up soon after they were filled ---


@pytest.mark.parametrize(
    ("profile", "used", "room", "wanted"),
    [
        (RARE, HANDFUL - 1, 0, HANDFUL - 1),
        (RARE, HANDFUL, 0, HANDFUL + HOT_GROWTH * HANDFUL),
        (RARE, 20, 8, 20 + HOT_GROWTH * 8),
        (STANDARD, 100, 64, 100 + HOT_GROWTH * 64),
        (STANDARD, 5000, 1024, 5000 + HOT_SPARE),
        (STANDARD, 20_000, 2048, 25_000),
    ],
)
def test_a_hot_pool_grows_by_a_multiple_up_to_a_bound(
    profile: Profile, used: int, room: int, wanted: int
) -> None:
    pool = Pool(profile, used, fresh=used, room=room)
    assert POLICY.wanted_when_hot(pool, 0) == wanted


@pytest.mark.parametrize(("spare", "low"), [(301, False), (300, True), (0, True)])
def test_a_hot_pool_is_low_by_the_room_it_had(spare: int, low: bool) -> None:
    pool = Pool(STANDARD, 1500 + spare, fresh=1500, room=1500)
    assert POLICY.is_low(pool, hot=True) == low
    assert not POLICY.is_low(pool) or spare == 0


def test_those_that_run_low_are_told_by_profile() -> None:
    pools = Map(
        {
            STANDARD.id: Pool(STANDARD, 100, fresh=100),
            RARE.id: Pool(RARE, 10, fresh=8, room=100),
        }
    )
    some = Layout(pools=pools)
    assert some.low(POLICY) == (STANDARD,)
    assert set(some.low(POLICY, frozenset({RARE.id}))) == {STANDARD, RARE}


@pytest.mark.parametrize("spare", [1126, 1300, 1500])
def test_a_hot_pool_that_has_its_room_keeps_its_size(spare: int) -> None:
    pool = Pool(STANDARD, 1500 + spare, fresh=1500, room=1500)
    some = Layout(pools=Map({STANDARD.id: pool}))
    for _ in range(3):
        some = some.reloaded({RARE: 1}, POLICY, frozenset({STANDARD.id, RARE.id}))
        wanted = max(pool.size, POLICY.wanted(STANDARD, 1500))
        assert some.pools[STANDARD.id].size == wanted


def test_a_reload_gives_hot_pools_more_and_the_handful_nothing() -> None:
    few = Pool(RARE, HANDFUL - 1, fresh=HANDFUL - 1)
    full = Pool(STANDARD, 100, fresh=100, room=64)
    some = Layout(pools=Map({STANDARD.id: full, RARE.id: few}))
    both = frozenset({STANDARD.id, RARE.id})

    after = some.reloaded({STANDARD: 1}, POLICY, both)

    assert after.pools[STANDARD.id].spare == 1 + HOT_GROWTH * 64
    assert after.pools[RARE.id].spare == 0
    assert some.reloaded({STANDARD: 1}, POLICY).pools[STANDARD.id].spare == 1 + 64


@pytest.mark.parametrize(
    ("backend", "beyond"),
    [
        (f"{RARE.id}.4", True),
        (f"{RARE.id}.3", False),
        (f"{STANDARD.id}.4", False),
        (f"{RARE.id}.04", False),
        ("fs_unknown", False),
    ],
)
def test_what_was_made_at_run_time_is_known_by_its_number(backend: str, beyond: bool) -> None:
    assert is_beyond(backend, {RARE.id: 4}) == beyond


# --- a reload that was laid out a while ago ---


def change(
    key: RouteKey, profile: Profile | None = RARE, old: Profile | None = None
) -> RouteChange:
    return RouteChange(key, route(key, old), route(key, profile))


def route(key: RouteKey, profile: Profile | None) -> CompiledRoute | None:
    return None if profile is None else CompiledRoute(key, profile, (), ((HOSTS, key.name),))


def test_what_was_placed_meanwhile_stays_where_it_is() -> None:
    before = layout().place(A, STANDARD)
    prepared = lay_out(before, [change(B)], POLICY)
    now = before.place(C, STANDARD).vacate(A)

    loaded = lay_out_within(now, [change(B)], prepared)

    assert loaded is not None
    assert loaded.slots == now.slots.set(B, backend_name(RARE.id, 0))
    sizes = {one: pool.size for one, pool in loaded.pools.items()}
    assert sizes == {one: pool.size for one, pool in prepared.pools.items()}
    assert loaded.resting() == frozenset()


def test_a_reload_without_those_who_changed_their_minds_has_their_slots_to_spare() -> None:
    prepared = lay_out(layout(), [change(B), change(C)], POLICY)

    loaded = lay_out_within(layout(), [change(C)], prepared)

    assert loaded is not None
    assert set(loaded.slots) == {C}
    assert loaded.pools[RARE.id].spare == 1


def test_a_route_that_moves_with_the_reload_leaves_its_old_slot() -> None:
    before = layout().place(A, STANDARD)
    moves = [change(A, RARE, old=STANDARD)]
    loaded = lay_out_within(before, moves, lay_out(before, moves, POLICY))
    assert loaded is not None
    assert loaded.slots == Map({A: backend_name(RARE.id, 0)})


@pytest.mark.parametrize("case", ["pool gone", "profile missing", "too few slots", "grown"])
def test_what_no_longer_fits_has_to_be_laid_out_anew(case: str) -> None:
    now, deferred = layout().place(A, STANDARD), [change(B)]
    prepared = lay_out(now, deferred, POLICY)
    match case:
        case "pool gone":
            prepared = Layout(pools=prepared.pools.delete(STANDARD.id))
        case "profile missing":
            prepared = Layout(pools=prepared.pools.delete(RARE.id))
        case "too few slots":
            deferred = [change(key) for key in (B, C, D)]
        case "grown":
            # By extra slots, beyond what was prepared.
            pool = Pool(STANDARD, 4, fresh=4, extra=frozenset({prepared.pools[STANDARD.id].size}))
            now = Layout(pools=now.pools.set(STANDARD.id, pool))
    assert lay_out_within(now, deferred, prepared) is None
