"""Many routes by one request: live when the answer says so, all of them or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from frontserver.agent import Client
from harness.frontserver import ADMIN_TOKEN
from harness.stack import Stack

AGENTS = 4
# More than the spare slots of a pool, so that a reload is needed, and no more than one.
EACH = 100


def publish(stack: Stack, routes: list[dict[str, Any]], wait: int = 30) -> httpx.Response:
    """As the operator."""
    return httpx.post(
        f"{stack.front.api_url}/api/proxy/routes",
        json={"routes": routes},
        headers={"Authorization": f"Bearer {ADMIN_TOKEN}", "Prefer": f"wait={wait}"},
        trust_env=False,
        timeout=60,
    )


def test_an_operators_routes_of_many_agents_go_live_together(
    make_stack: Callable[..., Stack],
) -> None:
    """Of two profiles, one of them new: one reload, and then every name leads to its own origin."""
    stack = make_stack()
    agents = [stack.registered(f"batch-{number}") for number in range(AGENTS)]
    origins = [stack.origin(f"batch-{number}") for number in range(AGENTS)]
    routes = [
        {
            "agentId": f"batch-{number}",
            "subdomain": f"batch-{number}-{route}",
            "targetUrl": origins[number].url,
            "options": {"balance": "leastconn"} if route % 10 == 0 else {},
        }
        for number in range(AGENTS)
        for route in range(EACH)
    ]
    routes += [
        {"type": "mongodb", "agentId": f"batch-{number}", "targetHost": "127.0.0.1"}
        for number in range(AGENTS)
    ]
    first, reloads = stack.front.sockets.worker_pid(), stack.front.sockets.reloads()

    answer = publish(stack, routes)

    assert answer.status_code == 200, answer.text
    total = AGENTS * EACH + AGENTS
    assert answer.json()["counts"] == {"active": total, "pending": 0, "failed": 0}
    assert {route["change"] for route in answer.json()["routes"]} == {"created"}
    for number in range(AGENTS):
        for route in range(EACH):
            served = stack.get(f"batch-{number}-{route}")
            assert (served.status_code, served.json()["origin"]) == (200, f"batch-{number}")
        assert len(agents[number].program.routes()) == EACH + 1
    second = stack.front.sockets.worker_pid()
    assert second != first
    # One for all of them and, if a pool came to run low, a refill.
    assert stack.front.sockets.reloads() - reloads <= 2

    again = publish(stack, routes)

    assert {route["change"] for route in again.json()["routes"]} == {"unchanged"}
    assert again.json()["counts"]["active"] == total
    assert stack.front.sockets.worker_pid() == second


def test_one_bad_entry_keeps_all_from_being_stored(stack: Stack) -> None:
    origin = stack.origin("whole")
    stack.registered("whole-1").api.http("whole-taken", origin.url)
    agent = stack.registered("whole-2")
    good = {"agentId": "whole-2", "subdomain": "whole-good", "targetUrl": origin.url}

    bad = publish(stack, [good, good | {"subdomain": "www"}, {"agentId": "whole-2"}])
    taken = publish(stack, [good, good | {"subdomain": "whole-taken"}])

    assert bad.status_code == 422
    assert [error["field"] for error in bad.json()["errors"]] == [
        "routes[1].subdomain",
        "routes[2].subdomain",
    ]
    assert (taken.status_code, taken.json()["errors"][0]["field"]) == (409, "routes[1]")
    assert agent.program.routes() == []
    assert stack.get("whole-good").status_code == 404
    assert stack.get("whole-taken").json()["origin"] == "whole"


def test_an_agent_publishes_its_own_with_the_sdk(stack: Stack) -> None:
    origin = stack.origin("own")
    stack.agent("own", "the-key-of-own-0001").register()
    worker = stack.front.sockets.worker_pid()
    routes = [
        {"subdomain": "own-batch", "targetUrl": origin.url},
        {"subdomain": "own-batch", "targetUrl": origin.url, "path": "/below"},
    ]

    with Client(stack.front.api_url, "own", key="the-key-of-own-0001") as client:
        done = client.add_routes(routes, wait=10)
        updated = client.add_routes([routes[0] | {"options": {"maxConnections": 9}}], wait=10)

    assert [(route.change, route.status) for route in done] == [("created", "active")] * 2
    assert [(route.change, route.status) for route in updated] == [("updated", "active")]
    assert stack.get("own-batch", "/below/x").json()["path"] == "/below/x"
    assert stack.front.sockets.worker_pid() == worker
