"""An ordinary new route needs no reload, and carries traffic when the answer is there."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from harness.stack import Stack

ROUTES = 50


def test_fifty_routes_without_a_reload(make_stack: Callable[..., Stack]) -> None:
    """The worker stays the same, and the first request after each 201 is served."""
    stack = make_stack()
    agent = stack.registered("many")
    origin = stack.origin("many")
    worker, workers = stack.front.sockets.worker_pid(), stack.front.sockets.worker_pids()
    for number in range(ROUTES):
        answer = agent.api.http(f"many-{number}", origin.url)
        assert (answer.status_code, answer.json()["status"]) == (201, "active")
        assert stack.get(f"many-{number}", f"/{number}").json()["path"] == f"/{number}"
    assert stack.front.sockets.worker_pid() == worker
    # One of before may be leaving: a Data Plane holds it for a while.
    assert set(stack.front.sockets.worker_pids()) <= set(workers)


def test_a_burst_of_routes_without_a_reload(make_stack: Callable[..., Stack]) -> None:
    """The same when they come all at once, with checks, MongoDB and updates among them."""
    stack = make_stack()
    agents = [stack.registered(f"burst-{number}") for number in range(4)]
    origin = stack.origin("burst")
    worker = stack.front.sockets.worker_pid()

    def publish(number: int) -> list[int]:
        api = agents[number].api
        return [
            api.http(f"burst-{number}-plain", origin.url).status_code,
            api.http(f"burst-{number}-check", origin.url, check=True).status_code,
            api.http(f"burst-{number}-path", origin.url, check={"path": "/"}).status_code,
            api.mongodb(origin.port).status_code,
            api.http(f"burst-{number}-plain", origin.url, maxConnections=9).status_code,
            api.http(f"burst-{number}-more", origin.url, timeouts={"server": 9}).status_code,
        ]

    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(publish, range(4)))
    assert codes == [[201, 201, 201, 201, 200, 201]] * 4
    for number in range(4):
        for kind in ("plain", "check", "path", "more"):
            assert stack.get(f"burst-{number}-{kind}").json()["origin"] == "burst"
    assert stack.front.sockets.worker_pid() == worker


def test_pools_refill_before_they_run_dry(make_stack: Callable[..., Stack]) -> None:
    """More routes than there are spare slots at first: all go live, none is lost."""
    stack = make_stack()
    agent = stack.registered("refill")
    origin = stack.origin("refill")
    names = [f"refill-{number}" for number in range(100)]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda name: agent.api.http(name, origin.url), names))
    told = {(answer.status_code, answer.json()["status"]) for answer in answers}
    assert told == {(201, "active")}
    missing = [name for name in names if stack.get(name).status_code != 200]
    assert missing == []
