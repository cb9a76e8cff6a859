"""Agent keys: hashing, equal cost, and the memory of what was verified."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontserver.errors import InputError, StorageError, TooManyRequestsError
from frontserver.security.keys import KeyHasher, Standing, VerifiedKeys, check_key
from tests.unit.security.samples import Seconds

KEY = "correct horse"
PROVEN, UNKNOWN, FAILING = Standing


@pytest.fixture
def hasher() -> Iterator[KeyHasher]:
    cheap = KeyHasher(time_cost=1, memory_kib=8)
    yield cheap
    cheap.close()


def test_the_defaults_are_argon2id_as_owasp_recommends() -> None:
    assert "$argon2id$v=19$m=19456,t=2,p=1$" in KeyHasher().hash(KEY)


def test_a_key_verifies_against_its_hash_only(hasher: KeyHasher) -> None:
    stored = hasher.hash(KEY)
    assert hasher.verify(stored, KEY)
    assert not hasher.verify(stored, KEY + "x")
    assert not hasher.verify(stored, KEY.upper())


def test_a_hash_is_salted_and_does_not_hold_the_key(hasher: KeyHasher) -> None:
    one, other = hasher.hash(KEY), hasher.hash(KEY)
    assert one != other
    assert KEY not in one


@pytest.mark.parametrize("key", ["x" * 8, "x" * 512, "schlüssel", "with spaces inside"])
def test_printable_keys_of_8_to_512_characters_are_good(key: str, hasher: KeyHasher) -> None:
    assert hasher.verify(hasher.hash(key), key)


BAD_KEYS = ["", "x" * 7, "x" * 513, "with\nnewline", "with\0nul....", "\ud800" * 8, "\u202e" * 8]


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_other_keys_can_not_be_set(key: str, hasher: KeyHasher) -> None:
    for attempt in (check_key, hasher.hash):
        with pytest.raises(InputError) as refusal:
            attempt(key)
        assert refusal.value.field == "agentKey"
    with pytest.raises(InputError):
        await hasher.hash_soon(key, UNKNOWN)


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_other_keys_verify_nothing_whether_the_agent_exists_or_not(
    key: str, hasher: KeyHasher
) -> None:
    stored = hasher.hash(KEY)
    assert not hasher.verify(stored, key)
    assert not hasher.verify_dummy(key)
    assert not await hasher.verify_soon(stored, key, UNKNOWN)
    assert not await hasher.verify_soon(None, key, UNKNOWN)


def test_a_missing_agent_costs_one_verification_with_the_same_parameters() -> None:
    hasher = KeyHasher(time_cost=1, memory_kib=8)
    checked: list[tuple[str, str]] = []

    class Recorder:
        def verify(self, stored: str, key: str) -> bool:
            checked.append((stored, key))
            return True  # Even a match must not let anybody in.

        def hash(self, key: str) -> str:
            return KeyHasher(time_cost=1, memory_kib=8).hash(key)

    hasher._argon2 = Recorder()  # type: ignore[assignment]
    assert not hasher.verify_dummy(KEY)
    assert not hasher.verify_dummy(KEY)
    assert [key for _, key in checked] == [KEY, KEY]
    assert all("m=8,t=1,p=1" in stored for stored, _ in checked)
    assert checked[0] == checked[1]  # The dummy hash is made once.


@pytest.mark.parametrize("stored", ["", "rubbish", "$argon2id$v=19$m=8,t=1,p=1$AAAA$AAAA"])
def test_an_unreadable_hash_is_a_fault_of_the_state(stored: str, hasher: KeyHasher) -> None:
    with pytest.raises(StorageError, match=r"unreadable.*rotate"):
        hasher.verify(stored, KEY)


def test_a_hash_with_older_parameters_still_counts(hasher: KeyHasher) -> None:
    stored = hasher.hash(KEY)
    newer = KeyHasher(time_cost=2, memory_kib=8)
    assert newer.verify(stored, KEY)


async def test_the_variants_in_threads_give_the_same_answers(hasher: KeyHasher) -> None:
    stored = await hasher.hash_soon(KEY, UNKNOWN)
    assert await hasher.verify_soon(stored, KEY, UNKNOWN)
    assert not await hasher.verify_soon(stored, "another key", UNKNOWN)
    assert not await hasher.verify_soon(None, KEY, UNKNOWN)


def gated(**how_many: int) -> tuple[KeyHasher, Gate]:
    """A hasher whose verifications wait for its gate."""
    hasher, gate = KeyHasher(**how_many), Gate()
    hasher._argon2 = gate  # type: ignore[assignment]
    return hasher, gate


class Gate:
    """Stands in for argon2: holds every verification until it is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.lock = threading.Lock()
        self.inside = 0
        self.most = 0
        self.full = threading.Event()

    def verify(self, stored: str, key: str) -> bool:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
            if self.inside == 2:
                self.full.set()
        assert self.open.wait(10)
        with self.lock:
            self.inside -= 1
        return True


async def test_at_most_so_many_run_at_once_and_the_rest_wait_or_are_refused() -> None:
    hasher, gate = gated(concurrency=2, waiting=3, kept=0, failing=0)
    running = [asyncio.create_task(hasher.verify_soon("hash", KEY, UNKNOWN)) for _ in range(5)]
    assert await asyncio.to_thread(gate.full.wait, 10)
    with pytest.raises(TooManyRequestsError) as refusal:
        await hasher.verify_soon("hash", KEY, UNKNOWN)
    assert refusal.value.retry_after == 1
    running[0].cancel()  # Its thread goes on: nobody may take its place before it ends.
    gate.open.set()
    answers = await asyncio.gather(*running, return_exceptions=True)
    assert answers[1:] == [True] * 4
    assert gate.most == 2
    assert await hasher.verify_soon("hash", KEY, UNKNOWN)  # There is room again.
    hasher.close()


async def places(hasher: KeyHasher, standing: Standing) -> list[asyncio.Task[bool]]:
    """As many verifications as the hasher takes, all under way."""
    running: list[asyncio.Task[bool]] = []
    while True:
        task = asyncio.create_task(hasher.verify_soon("hash", KEY, standing))
        await asyncio.wait({task}, timeout=0.01)
        if task.done():
            with pytest.raises(TooManyRequestsError):
                task.result()
            return running
        running.append(task)


async def test_strangers_leave_places_for_whoever_has_proven_a_key() -> None:
    hasher, gate = gated(concurrency=2, waiting=8, kept=3, failing=2)
    running = await places(hasher, FAILING)
    assert len(running) == 2
    running += await places(hasher, UNKNOWN)
    assert len(running) == 2 + 5
    running += await places(hasher, PROVEN)
    assert len(running) == 2 + 5 + 3
    gate.open.set()
    assert await asyncio.gather(*running) == [True] * 10
    hasher.close()


async def test_whoever_has_proven_a_key_may_have_all_places() -> None:
    hasher, gate = gated(concurrency=2, waiting=8, kept=3, failing=2)
    running = await places(hasher, PROVEN)
    assert len(running) == 10
    gate.open.set()
    await asyncio.gather(*running)
    hasher.close()


# -- the memory -------------------------------------------------------------------------------


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


def test_only_exactly_what_was_remembered_is_known(clock: Seconds) -> None:
    memory = VerifiedKeys(clock=clock)
    memory.remember("a1", KEY, "hash")
    assert memory.known("a1", KEY, "hash")
    assert not memory.known("a2", KEY, "hash")
    assert not memory.known("a1", "another key", "hash")


def test_a_rotated_key_is_not_known_any_more(clock: Seconds) -> None:
    memory = VerifiedKeys(clock=clock)
    memory.remember("a1", KEY, "hash")
    assert not memory.known("a1", KEY, "hash of the new key")


def test_what_was_remembered_is_forgotten_after_the_ttl(clock: Seconds) -> None:
    memory = VerifiedKeys(clock=clock, ttl=60, proof=600)
    memory.remember("a1", KEY, "hash")
    clock.now += 59.9
    assert memory.known("a1", KEY, "hash")
    clock.now += 0.1
    assert not memory.known("a1", KEY, "hash")
    clock.now += 539.9
    assert memory.proven("a1", KEY, "hash")
    assert not memory.proven("a1", KEY, "hash of the new key")
    clock.now += 0.1
    assert not memory.proven("a1", KEY, "hash")
    clock.now -= 1  # Gone, not hidden.
    assert not memory.proven("a1", KEY, "hash")


def test_the_oldest_makes_room(clock: Seconds) -> None:
    memory = VerifiedKeys(clock=clock, capacity=2)
    for agent in ("a1", "a2", "a1", "a3"):
        memory.remember(agent, KEY, "hash")
    assert [memory.known(agent, KEY, "hash") for agent in ("a1", "a2", "a3")] == [True, False, True]


def test_memory_holds_no_key(clock: Seconds) -> None:
    memory = VerifiedKeys(clock=clock)
    memory.remember("a1", KEY, "hash")
    assert KEY not in repr(vars(memory))


@given(st.tuples(*[st.text(max_size=4)] * 3), st.tuples(*[st.text(max_size=4)] * 3))
def test_different_triples_are_never_mixed_up(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    memory = VerifiedKeys(clock=Seconds())
    memory.remember(*one)
    assert memory.known(*other) == (one == other)


def test_parts_can_not_be_shifted_into_each_other(clock: Seconds) -> None:
    memory = VerifiedKeys(clock=clock)
    memory.remember("ab", "c", "hash")
    assert not memory.known("a", "bc", "hash")
