"""Visitors whose connections a fault has cut: they may notice once, and no more."""

from __future__ import annotations

import threading

import pytest

from harness.errors import HarnessError
from harness.origin import Origin
from harness.polling import until
from harness.visitors import Visit, Visitors


def test_who_is_served_has_settled() -> None:
    with (
        Origin("shop") as origin,
        Visitors(origin.port, [Visit(f"{n}.example.com", "shop") for n in range(3)]) as visitors,
    ):
        before = visitors.done
        visitors.settle()
    assert visitors.done >= before + 3
    assert visitors.complaints == []


def test_who_is_never_served_has_not() -> None:
    visits = [Visit("shop.example.com", "shop"), Visit("blog.example.com", "blog")]
    with (
        Origin("shop") as origin,
        Visitors(origin.port, visits) as visitors,
        pytest.raises(HarnessError, match=r"blog\.example\.com: HarnessError answered by 'shop'"),
    ):
        visitors.settle(seconds=1)


def test_who_fails_again_has_not() -> None:
    with Origin("shop") as origin:
        visitors = Visitors(origin.port, [Visit("shop.example.com", "shop")])
        origin.stop()
        with visitors:
            back = threading.Thread(target=lambda: (failed_twice(visitors), origin.start()))
            back.start()
            with pytest.raises(HarnessError, match="failed again"):
                visitors.settle()
            back.join()


def failed_twice(visitors: Visitors) -> None:
    until("two complaints", lambda: len(visitors.complaints) >= 3)


def test_complaints_of_before_dont_end_a_wait() -> None:
    with (
        Origin("shop") as origin,
        Visitors(origin.port, [Visit("shop.example.com", "shop")]) as visitors,
    ):
        origin.stop()
        until("it complains", lambda: visitors.complaints)
        origin.start()
        until("it is served", lambda done=visitors.done: visitors.done > done)
        done = visitors.done
        visitors.wait_for(20)
        assert visitors.done >= done + 20
