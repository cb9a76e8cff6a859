"""How often somebody may guess."""

from __future__ import annotations

import pytest

from frontserver.errors import TooManyRequestsError
from frontserver.security.throttle import Throttle
from tests.unit.security.samples import Seconds

PEER = "203.0.113.7"


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def throttle(clock: Seconds) -> Throttle:
    return Throttle(clock=clock, burst=3, window=30, capacity=4)


def fail(throttle: Throttle, times: int, peer: str = PEER, agent: str = "a1") -> None:
    for _ in range(times):
        throttle.failed(peer, agent)


def wait_of(throttle: Throttle, peer: str = PEER, agent: str = "a1") -> int:
    """Seconds to wait; 0 when an attempt is allowed."""
    try:
        throttle.check(peer, agent)
    except TooManyRequestsError as error:
        return error.retry_after
    return 0


def test_so_many_failures_are_free_and_the_next_attempt_waits(throttle: Throttle) -> None:
    for _ in range(3):
        throttle.check(PEER, "a1")
        throttle.failed(PEER, "a1")
    with pytest.raises(TooManyRequestsError, match=r"too many failed attempts.*10 s") as refused:
        throttle.check(PEER, "a1")
    assert refused.value.retry_after == 10


def test_waiting_as_told_is_enough_for_one_attempt(throttle: Throttle, clock: Seconds) -> None:
    fail(throttle, 3)
    clock.now += 9.5
    assert wait_of(throttle) == 1
    clock.now += 0.5
    assert wait_of(throttle) == 0
    fail(throttle, 1)
    assert wait_of(throttle) == 10


def test_after_a_quiet_window_all_attempts_are_back(throttle: Throttle, clock: Seconds) -> None:
    fail(throttle, 3)
    clock.now += 30
    for _ in range(3):
        assert wait_of(throttle) == 0
        fail(throttle, 1)
    assert wait_of(throttle) == 10


def test_failures_that_overtook_the_check_are_paid_for(throttle: Throttle) -> None:
    fail(throttle, 5)
    assert wait_of(throttle) == 30


def test_success_clears_the_agents_failures_from_that_peer(throttle: Throttle) -> None:
    fail(throttle, 3)
    fail(throttle, 3, agent="a2")
    throttle.succeeded(PEER, "a1")
    throttle.succeeded(PEER, "unheard-of")
    assert wait_of(throttle) == 0
    assert wait_of(throttle, agent="a2") == 10


def test_nobody_locks_an_agent_out_from_elsewhere(throttle: Throttle) -> None:
    fail(throttle, 100, peer="198.51.100.1")
    assert wait_of(throttle) == 0


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        ("::ffff:203.0.113.7", "::ffff:203.0.113.8", False),
        ("203.0.113.7", "203.0.113.8", False),
        ("unix socket", "unix socket", True),
    ],
)
def test_peers_count_by_address_or_ipv6_network(
    one: str, other: str, shared: bool, throttle: Throttle
) -> None:
    fail(throttle, 3, peer=one)
    assert bool(wait_of(throttle, peer=other)) == shared


def test_the_case_of_an_agent_id_is_no_way_around(throttle: Throttle) -> None:
    fail(throttle, 3, agent="A1")
    assert wait_of(throttle, agent="a1") == 10


def test_memory_is_bounded_and_the_longest_quiet_is_forgotten(throttle: Throttle) -> None:
    fail(throttle, 3, agent="old")
    fail(throttle, 3, agent="busy")
    for n in range(3):
        fail(throttle, 1, agent="busy")
        fail(throttle, 1, agent=f"x{n}" * 1000)
    assert len(throttle._pairs) == 4
    assert all(len(part) <= 64 for key in throttle._pairs for part in key)
    assert wait_of(throttle, agent="old") == 0
    assert wait_of(throttle, agent="busy") > 0


def test_an_empty_bucket_is_dropped_when_it_is_looked_at(
    throttle: Throttle, clock: Seconds
) -> None:
    fail(throttle, 1)
    clock.now += 10
    throttle.check(PEER, "a1")
    assert not throttle._pairs


def test_rounding_never_shortens_the_burst() -> None:
    clock = Seconds()
    clock.now = 123_456.789
    throttle = Throttle(clock=clock, burst=7, window=10)
    for _ in range(7):
        assert wait_of(throttle) == 0
        fail(throttle, 1)
    assert wait_of(throttle) == 2


def charges(throttle: Throttle, peer: str = PEER) -> int:
    """How many attempts the peer has left."""
    free = 0
    while throttle.charge(peer):
        free += 1
    return free


def test_a_peers_failures_count_whatever_agents_it_names(clock: Seconds) -> None:
    throttle = Throttle(clock=clock, peer_burst=5, window=30)
    assert charges(throttle) == 5
    assert charges(throttle, peer="198.51.100.1") == 5
    assert wait_of(throttle, agent="anybody") == 0, "it isn't shut out by that"


def test_what_was_refused_counts_for_nothing(clock: Seconds) -> None:
    throttle = Throttle(clock=clock, peer_burst=5, window=30)
    assert charges(throttle) == 5
    for _ in range(100):
        assert not throttle.charge(PEER)
    clock.now += 6
    assert charges(throttle) == 1
    clock.now += 30
    assert charges(throttle) == 5


def test_what_was_no_failure_is_refunded(throttle: Throttle, clock: Seconds) -> None:
    throttle = Throttle(clock=clock, peer_burst=2, window=30)
    for _ in range(10):
        assert throttle.charge(PEER)
        throttle.refund(PEER)
    assert charges(throttle) == 2
    clock.now += 100
    assert throttle.charge("198.51.100.1")
    throttle.refund("unheard of")
    throttle.refund(PEER)
    assert charges(throttle) <= 3
