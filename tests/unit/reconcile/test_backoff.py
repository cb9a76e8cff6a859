"""Pauses grow, are bounded, and forgotten after a success."""

from __future__ import annotations

from frontserver.reconcile.backoff import Backoff


def still() -> float:
    return 100.0


def test_pauses_grow_up_to_a_bound() -> None:
    backoff = Backoff(0.1, 5.0, still)
    pauses = []
    for _ in range(20):
        backoff.failed("down")
        pauses.append(backoff.remaining)

    assert 0.05 <= pauses[0] <= 0.1
    assert all(2.5 <= pause <= 5.0 for pause in pauses[6:])


def test_what_is_costly_to_try_waits_longer_from_the_first() -> None:
    backoff = Backoff(0.1, 5.0, still)

    backoff.failed("refused", at_least=30.0)

    assert 30.0 <= backoff.remaining <= 60.0


def test_a_problem_is_news_once() -> None:
    backoff = Backoff(0.1, 5.0, still)

    assert [backoff.failed("down"), backoff.failed("down"), backoff.failed("full")] == [
        True,
        False,
        True,
    ]


def test_a_success_ends_the_pause() -> None:
    backoff = Backoff(0.1, 5.0, still)
    backoff.failed("down", at_least=30.0)

    backoff.succeeded()

    assert (backoff.remaining, backoff.problem) == (0.0, None)
