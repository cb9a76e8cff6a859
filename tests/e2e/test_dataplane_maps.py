"""Map writes beside forced reloads through a Data Plane API: none that was acknowledged is lost.

The API itself loses entries that are written while HAProxy reloads, and says 201 to them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.agent import AgentApi
from harness.origin import Origin
from harness.stack import Stack
from tests.e2e.faults import LONG

pytestmark = pytest.mark.dataplane_backend

WRITERS = 4
ROUTES = 50 if LONG else 25  # Of each writer.
ROUNDS = 50 if LONG else 2


def write(
    api: AgentApi, origin: Origin, names: list[str], turn: int, begun: threading.Event
) -> list[str]:
    """Change one value of each route, an entry of a map; returns the values acknowledged."""
    acknowledged = []
    for number, name in enumerate(names):
        value = f"{name}-{turn}"
        answer = api.http(
            name, origin.url, wait=30, headers={"request": {"set": {"X-Turn": value}}}
        )
        if answer.status_code in {200, 201} and answer.json()["status"] == "active":
            acknowledged.append(value)
        if number == len(names) // 4:
            begun.set()
    return acknowledged


def test_no_map_write_is_lost_beside_reloads(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(backend="dataplane")
    origin = stack.origin("maps")
    agents = [stack.registered(f"writer-{number}") for number in range(WRITERS)]
    names = [[f"w{writer}-{number}" for number in range(ROUTES)] for writer in range(WRITERS)]
    reloader = stack.registered("reloader")
    writes = lost = 0
    with ThreadPoolExecutor(WRITERS) as pool:
        for turn in range(ROUNDS):
            begun = [threading.Event() for _ in agents]
            writing = [
                pool.submit(write, agent.api, origin, some, turn, event)
                for agent, some, event in zip(agents, names, begun, strict=True)
            ]
            assert all(event.wait(60) for event in begun)
            # In their midst: a header name that no route has had needs a reload.
            unseen = {"request": {"set": {f"X-Turn-{turn}": "1"}}}
            answer = reloader.api.http("reloader", origin.url, wait=60, headers=unseen).json()
            assert (answer["status"], answer.get("reload")) == ("active", "new-profile"), answer
            acknowledged = [value for each in writing for value in each.result()]
            shown = stack.front.sockets.run(f"show map {stack.front.maps_dir / 'fs-values.map'}")
            # A line each: an address, the key, the value.
            held = {line.split(" ", 2)[2] for line in shown.splitlines() if line}
            writes += len(acknowledged)
            lost += len(set(acknowledged) - held)
    print(f"\n{writes} map writes acknowledged beside {ROUNDS} reloads, {lost} lost")  # noqa: T201
    assert (writes, lost) == (ROUNDS * WRITERS * ROUTES, 0)
    assert stack.front.sockets.reloads() >= ROUNDS
    for some in names:
        for name in some:
            headers = dict(stack.get(name).json()["headers"])
            assert headers["x-turn"] == f"{name}-{ROUNDS - 1}"
