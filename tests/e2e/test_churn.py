"""Thousands of routes come, change and go beside visitors who must not notice."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from websockets.sync.client import connect

from harness.agent import AgentApi
from harness.frontserver import APP_DOMAIN
from harness.origin import Origin
from harness.stack import Stack
from harness.visitors import Visit, Visitors

STEADY = 50
AGENTS = 4
# Of each agent: added, changed, removed.
ROUTES = 750
RELOADS = 20
# Workers that a reload replaced, while one long connection is held throughout.
MOST_OLD_WORKERS = 6

_RELOADS = re.compile(r"^frontserver_reload_seconds_count (\d+)", re.MULTILINE)


@pytest.mark.long
def test_three_thousand_routes_churn_beside_fifty_that_stay(
    make_stack: Callable[..., Stack],
) -> None:
    """No request on an untouched route fails, none is answered by somebody else's origin."""
    stack = make_stack()
    steady = stack.registered("steady")
    origins = [stack.origin(name) for name in ("a", "b")]
    quiet = stack.origin("quiet")
    for number in range(STEADY):
        assert steady.api.http(f"steady-{number}", quiet.url).json()["status"] == "active"
    agents = [stack.registered(f"churn-{number}") for number in range(AGENTS)]
    visits = [Visit(f"steady-{number}.{APP_DOMAIN}", "quiet") for number in range(STEADY)]
    special = [stack.registered(f"special-{number}") for number in range(2)]
    most_old = 0

    with (
        Visitors(stack.front.http_port, visits) as visitors,
        connect(stack.url("steady-0", "/ws", scheme="ws"), proxy=None) as held,
        ThreadPoolExecutor(AGENTS) as pool,
    ):
        visitors.wait_for(100)
        progress = Progress(AGENTS * ROUTES)
        churning = [
            pool.submit(churn, agent.api, f"c{number}", origins, stack, progress)
            for number, agent in enumerate(agents)
        ]
        for number in progress.steps(RELOADS):
            force_reload(special[number % 2].api, number, quiet)
            most_old = max(most_old, len(stack.front.sockets.worker_pids()) - 1)
            held.send(str(number))
            assert held.recv(10) == str(number), "the long connection lives on"
        wrong = [complaint for future in churning for complaint in future.result()]
        visitors.wait_for(200)

    assert visitors.complaints == []
    assert wrong == []
    assert most_old <= MOST_OLD_WORKERS
    # There was no reload but those that the product says it needed.
    assert reloads_of(stack) >= RELOADS
    assert stack.front.sockets.reloads() == reloads_of(stack)
    assert visitors.done > 1000


class Progress:
    """Counts what is done by several threads, and hands out moments spread over it."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._moved = threading.Condition()

    def step(self) -> None:
        with self._moved:
            self._done += 1
            self._moved.notify_all()

    def steps(self, count: int) -> Iterator[int]:
        """Yield `count` times, evenly spread over the whole."""
        for number in range(count):
            goal = self._total * (number + 1) // (count + 1)
            with self._moved:
                assert self._moved.wait_for(lambda goal=goal: self._done >= goal, 240)
            yield number


def churn(
    api: AgentApi, prefix: str, origins: list[Origin], stack: Stack, progress: Progress
) -> list[str]:
    """Add, change and remove routes; returns whatever wasn't as it was said to be."""
    wrong = []
    for number in range(ROUTES):
        name = f"{prefix}-{number}"
        first, second = origins[number % 2], origins[(number + 1) % 2]
        for target, allowed in ((first, {201}), (second, {200})):
            answer = api.http(name, target.url, wait=30)
            if answer.status_code not in allowed or answer.json()["status"] != "active":
                wrong.append(f"{name}: {answer.status_code} {answer.text[:200]}")
            elif number % 5 == 0 and stack.get(name).json()["origin"] != target.name:
                wrong.append(f"{name} doesn't lead to {target.name}")
        if number % 3 == 0:
            api.http(name, second.url, balance="leastconn", wait=30)
        answer = api.remove(name, wait=30)
        if (answer.status_code, answer.json()["status"]) != (200, "removed"):
            wrong.append(f"{name} isn't removed: {answer.text[:200]}")
        elif number % 5 == 0 and stack.get(name).status_code != 404:
            wrong.append(f"{name} is served after its removal")
        progress.step()
    return wrong


def force_reload(api: AgentApi, number: int, origin: Origin) -> None:
    """A header name that no route had before can't be had without one."""
    unseen = {"request": {"set": {f"X-Unseen-{number}": "1"}}}
    answer = api.http(f"special-{number}", origin.url, headers=unseen, wait=30).json()
    assert (answer["status"], answer.get("reload")) == ("active", "new-profile"), answer


def reloads_of(stack: Stack) -> int:
    """How many reloads the product says that it made."""
    page = stack.client.get(f"{stack.front.api_url}/metrics").text
    match = _RELOADS.search(page)
    return int(match[1]) if match else 0
