"""What Prometheus sees of a real front server."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx

from harness.stack import Stack


def page(stack: Stack) -> httpx.Response:
    return httpx.get(f"{stack.front.api_url}/metrics", trust_env=False)


def test_metrics_follow_what_is_done_and_name_no_tenant(stack: Stack) -> None:
    agent = stack.registered("measured-agent")
    origin = stack.origin("measured")
    assert agent.api.http("measured-site", origin.url).json()["status"] == "active"

    text = page(stack).text

    (count,) = re.findall(
        r'^frontserver_requests_total\{handler="publish_http",method="POST",status="201"\} (\S+)$',
        text,
        re.MULTILINE,
    )
    assert float(count) >= 1
    assert re.search(r'^frontserver_routes\{state="active"\} [1-9]', text, re.MULTILINE)
    assert re.search(r"^frontserver_haproxy_reachable 1.0$", text, re.MULTILINE)
    assert re.search(r'^frontserver_haproxy_info\{version="\d', text, re.MULTILINE)
    assert "measured-" not in text


def test_an_operator_may_want_none(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(environ={"FRONTSERVER_METRICS": "off"})

    assert page(stack).status_code == httpx.codes.NOT_FOUND
