"""Who may become an agent, and what operators do about it."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from harness.frontserver import ADMIN_TOKEN
from harness.stack import Stack

MakeStack = Callable[..., Stack]


def test_by_invitation_only(make_stack: MakeStack) -> None:
    """A key by `frontserver agents invite` opens the door to one agent."""
    stack = make_stack(environ={"FRONTSERVER_ENROLMENT": "invite"})
    stranger = stack.agent("stranger")
    assert stranger.api.register().status_code in {401, 403}

    key = stack.front.run("agents", "invite", "guest").stdout.strip()
    assert key
    borrowed = stack.agent("stranger", key)
    assert borrowed.api.register().status_code in {401, 403}
    guest = stack.agent("guest", key)
    assert guest.register()["agentId"] == "guest"
    assert guest.program.routes() == []


def test_closed_means_closed(make_stack: MakeStack) -> None:
    stack = make_stack(environ={"FRONTSERVER_ENROLMENT": "closed"})
    assert stack.agent("anybody").api.register().status_code in {401, 403}


def test_an_operator_sees_everything(stack: Stack) -> None:
    """With the operator's own credential; agents see their own."""
    origin = stack.origin("seen")
    for name in ("seen-1", "seen-2"):
        assert stack.registered(name).api.http(name, origin.url).status_code == 201
    answer = httpx.get(
        f"{stack.front.api_url}/api/proxy/routes",
        headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
        trust_env=False,
    )
    assert {"seen-1", "seen-2"} <= {route.get("subdomain") for route in answer.json()["routes"]}
    refused = httpx.get(
        f"{stack.front.api_url}/api/proxy/routes",
        headers={"Authorization": "Bearer nobody"},
        trust_env=False,
    )
    assert refused.status_code == 401
