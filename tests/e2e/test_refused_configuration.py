"""A configuration that HAProxy refuses is its owner's problem, and nobody else's."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.origin import Origin
from harness.stack import Stack, StackAgent

MakeStack = Callable[..., Stack]

# An operator's template that writes nonsense for one header name: a stand-in for whatever
# HAProxy refuses that we didn't foresee.
POISON = "x-poison"
NONSENSE = "this-directive-does-not-exist"
TEMPLATE = f"""\
{{% if profile.mode == "http" and "{POISON}" in profile.set_request %}}
    {NONSENSE} on
{{% endif %}}
"""


@pytest.fixture
def poisoned(make_stack: MakeStack, tmp_path: Path) -> tuple[Stack, StackAgent, Origin]:
    custom = tmp_path / "custom"
    custom.mkdir()
    (custom / "profile.cfg.j2").write_text(TEMPLATE)
    stack = make_stack(environ={"FRONTSERVER_TEMPLATE_DIR": str(tmp_path)})
    agent = stack.registered("poisoned")
    origin = stack.origin("healthy")
    assert agent.api.http("before", origin.url).json()["status"] == "active"
    return stack, agent, origin


def setting(name: str) -> dict[str, Any]:
    return {"headers": {"request": {"set": {name: "1"}}}}


def test_the_culprit_is_told_and_the_others_go_live(
    poisoned: tuple[Stack, StackAgent, Origin],
) -> None:
    """All in the same moment: each of the others needs that reload too."""
    stack, agent, origin = poisoned
    names = ["x-fine-1", POISON, "x-fine-2", "x-fine-3"]

    def post(name: str) -> httpx.Response:
        # A client each: they shall arrive together.
        return httpx.post(
            f"{stack.front.api_url}/api/proxy/http",
            json={
                "agentId": agent.agent_id,
                "subdomain": name,
                "targetUrl": origin.url,
                "options": setting(name),
            },
            auth=(agent.agent_id, agent.key),
            headers={"Prefer": "wait=30"},
            trust_env=False,
            timeout=60,
        )

    with ThreadPoolExecutor(len(names)) as pool:
        answers = dict(zip(names, pool.map(post, names), strict=True))

    for name in names:
        if name != POISON:
            assert answers[name].json()["status"] == "active", answers[name].text
            assert stack.get(name).status_code == 200
    culprit = answers[POISON]
    assert NONSENSE in culprit.text, "HAProxy's own message reaches the owner"
    if culprit.status_code != 422:
        assert culprit.json()["status"] == "failed"
        listed = agent.api.routes()[f"{POISON}.apps.example.com"]
        assert listed["status"] == "failed"
        assert NONSENSE in listed["reason"]
    assert stack.get("before").status_code == 200
    assert stack.get(POISON).status_code == 404


def test_a_failed_route_blocks_nothing_that_comes_later(
    poisoned: tuple[Stack, StackAgent, Origin],
) -> None:
    """Neither changes with and without a reload, nor a restart of everything, nor its mending."""
    stack, agent, origin = poisoned
    assert NONSENSE in agent.api.http("bad", origin.url, **setting(POISON)).text
    assert agent.api.http("ordinary", origin.url).json()["status"] == "active"
    assert agent.api.http("new", origin.url, **setting("x-new")).json()["status"] == "active"

    stack.front.kill()
    stack.front.kill_haproxy()
    stack.front.revive_haproxy()
    stack.front.start()
    for name in ("before", "ordinary", "new"):
        assert stack.get(name).status_code == 200
    mended = agent.api.http("bad", origin.url, wait=20)
    assert mended.json()["status"] == "active"
    assert stack.get("bad").status_code == 200


def test_a_route_that_goes_bad_keeps_serving_as_it_was(
    poisoned: tuple[Stack, StackAgent, Origin],
) -> None:
    """A refused update leaves the working version in place."""
    stack, agent, origin = poisoned
    answer = agent.api.http("before", origin.url, **setting(POISON))
    assert NONSENSE in answer.text
    assert stack.get("before").status_code == 200
