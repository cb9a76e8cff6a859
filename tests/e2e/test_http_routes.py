"""HTTP routes by host: published, changed, removed; every option does what it says."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from harness.origin import Origin
from harness.polling import until
from harness.stack import Stack, StackAgent


@pytest.fixture(scope="module")
def agent(stack: Stack) -> StackAgent:
    return stack.registered("http")


@pytest.fixture(scope="module")
def origin(stack: Stack) -> Origin:
    return stack.origin("one")


@pytest.fixture(scope="module")
def other(stack: Stack) -> Origin:
    return stack.origin("two")


def publish(agent: StackAgent, subdomain: str, target: str | None = None, **options: Any) -> Any:
    """Publish a route that must be new and active at once."""
    answer = agent.api.http(subdomain, target, **options)
    assert (answer.status_code, answer.json().get("status")) == (201, "active"), answer.text
    return answer.json()


def headers_seen(answer: httpx.Response) -> dict[str, list[str]]:
    """The header fields that reached the origin, names in lower case."""
    found: dict[str, list[str]] = {}
    for name, value in answer.json()["headers"]:
        found.setdefault(name.lower(), []).append(value)
    return found


# --- life of a route ---


def test_a_route_is_found_by_its_host(stack: Stack, agent: StackAgent, origin: Origin) -> None:
    """Whatever the case, with or without a port or a trailing dot; nobody else is."""
    publish(agent, "byhost", origin.url)
    assert stack.get("byhost", "/a/path?and=query").json()["path"] == "/a/path?and=query"
    for host in ("BYHOST.apps.Example.COM", "byhost.apps.example.com.", "byhost.apps.example.com"):
        assert stack.get("byhost", headers={"Host": host}).json()["origin"] == "one"
    for host in ("nobody.apps.example.com", "byhost.example.com", "x.byhost.apps.example.com"):
        assert stack.get("byhost", headers={"Host": host}).status_code == 404


def test_methods_and_bodies_pass(stack: Stack, agent: StackAgent, origin: Origin) -> None:
    publish(agent, "bodies", origin.url)
    answer = stack.client.post(stack.url("bodies", "/post"), content=b"x" * 200_000)
    assert answer.json()["method"] == "POST"
    assert len(answer.json()["body"]) == 200_000


def test_a_route_is_updated_listed_and_removed(
    stack: Stack, agent: StackAgent, origin: Origin, other: Origin
) -> None:
    """The same request twice is the same; another target counts at once; removed is gone."""
    publish(agent, "life", origin.url)
    assert agent.api.http("life", origin.url).status_code == 200
    assert stack.get("life").json()["origin"] == "one"

    changed = agent.api.http("life", other.url)
    assert (changed.status_code, changed.json()["status"]) == (200, "active")
    assert stack.get("life").json()["origin"] == "two"

    listed = agent.api.routes()["life.apps.example.com"]
    assert (listed["targetUrl"], listed["status"], listed["type"]) == (other.url, "active", "http")

    assert agent.api.remove("life").status_code == 200
    assert stack.get("life").status_code == 404
    assert "life.apps.example.com" not in agent.api.routes()
    assert agent.api.remove("life").status_code == 404


def test_remove_by_query_parameters(stack: Stack, agent: StackAgent, origin: Origin) -> None:
    """DELETE without a body, as clients that can't send one do."""
    publish(agent, "query", origin.url)
    done = agent.api.client.delete("/api/proxy", params={"agentId": "http", "subdomain": "query"})
    assert done.status_code == 200
    assert stack.get("query").status_code == 404


def test_a_name_belongs_to_whoever_came_first(
    stack: Stack, agent: StackAgent, origin: Origin, other: Origin
) -> None:
    """Another agent can neither take nor remove it, nor act in the first one's name."""
    publish(agent, "mine", origin.url)
    rival = stack.registered("rival")
    assert rival.api.http("mine", other.url).status_code == 409
    assert rival.api.http("MINE", other.url).status_code == 409
    assert rival.api.remove("mine").status_code in {403, 404}
    pretended = rival.api.client.post(
        "/api/proxy/http",
        json={"agentId": "http", "subdomain": "pretended", "targetUrl": other.url},
    )
    assert pretended.status_code == 403
    assert rival.api.client.get("/api/proxy/agents/http").status_code == 403
    assert stack.get("mine").json()["origin"] == "one"


def test_the_front_server_is_no_target(stack: Stack, agent: StackAgent) -> None:
    """Its own ports would make a loop, or open the API to the web."""
    for port in (stack.front.api_port, stack.front.http_port, stack.front.mongo_port):
        assert agent.api.http("loop", f"http://127.0.0.1:{port}").status_code == 422
    assert agent.api.http("loop", "http://169.254.169.254").status_code == 422


def test_an_unknown_option_is_refused_with_the_known_ones(
    agent: StackAgent, origin: Origin
) -> None:
    answer = agent.api.http("unknown-option", origin.url, stickyness=True)
    assert answer.status_code == 422
    assert "sticky" in answer.text
    assert answer.json()["errors"][0]["field"].startswith("options")


# --- options ---


def test_headers_are_set_and_removed_both_ways(
    stack: Stack, agent: StackAgent, origin: Origin
) -> None:
    publish(
        agent,
        "headers",
        origin.url,
        headers={
            "request": {"set": {"X-Tenant": "blue team"}, "remove": ["Accept-Language"]},
            "response": {"set": {"Cache-Control": "no-store"}, "remove": ["X-Powered-By"]},
        },
    )
    answer = stack.get("headers", headers={"X-Tenant": "forged", "Accept-Language": "de"})
    seen = headers_seen(answer)
    assert seen["x-tenant"] == ["blue team"]
    assert "accept-language" not in seen
    assert answer.headers["Cache-Control"] == "no-store"
    assert "X-Powered-By" not in answer.headers


def test_a_changed_header_value_counts_at_once(
    stack: Stack, agent: StackAgent, origin: Origin
) -> None:
    for value in ("first", "second"):
        answer = agent.api.http("value", origin.url, headers={"request": {"set": {"X-V": value}}})
        assert answer.json()["status"] == "active"
        assert headers_seen(stack.get("value"))["x-v"] == [value]


def test_plain_http_is_redirected(stack: Stack, agent: StackAgent, origin: Origin) -> None:
    publish(agent, "redirected", origin.url, redirectHttps=True)
    answer = stack.get("redirected", "/to?where=1")
    assert answer.status_code == 301
    assert answer.headers["Location"] == stack.url("redirected", "/to?where=1", scheme="https")
    assert stack.client.get(answer.headers["Location"]).json()["origin"] == "one"


def test_sticky_visitors_stay_with_one_origin(
    stack: Stack, agent: StackAgent, origin: Origin, other: Origin
) -> None:
    """By a cookie of the given name; strangers are spread over both."""
    publish(
        agent,
        "sticky",
        targets=[{"url": origin.url}, {"url": other.url}],
        sticky={"cookie": "WHERE"},
    )
    strangers = [httpx.get(stack.url("sticky"), trust_env=False) for _ in range(6)]
    assert {answer.json()["origin"] for answer in strangers} == {"one", "two"}
    for first in strangers[:2]:
        with httpx.Client(trust_env=False, cookies=first.cookies) as visitor:
            home = {visitor.get(stack.url("sticky")).json()["origin"] for _ in range(6)}
        assert home == {first.json()["origin"]}


def test_weights_share_out_requests(
    stack: Stack, agent: StackAgent, origin: Origin, other: Origin
) -> None:
    publish(
        agent,
        "weights",
        targets=[{"url": origin.url, "weight": 90}, {"url": other.url, "weight": 30}],
    )
    share = Counter(stack.get("weights").json()["origin"] for _ in range(40))
    assert share["one"] > 2 * share["two"] > 0


def test_a_backup_serves_when_nobody_else_does(
    stack: Stack, agent: StackAgent, origin: Origin
) -> None:
    with Origin("primary") as primary:
        publish(
            agent,
            "backup",
            targets=[{"url": primary.url}, {"url": origin.url, "backup": True}],
            check={"interval": "100ms", "fall": 1, "rise": 1},
        )
        assert {stack.get("backup").json()["origin"] for _ in range(5)} == {"primary"}
        primary.stop()
        until(
            "the backup serves",
            lambda: (a := stack.get("backup")).status_code == 200 and a.json()["origin"] == "one",
        )


def test_the_host_header_is_what_was_asked_for(
    stack: Stack, agent: StackAgent, origin: Origin
) -> None:
    """Preserved, or the target's, or a name."""
    publish(agent, "host-kept", origin.url)
    publish(agent, "host-target", origin.url, hostHeader="target")
    publish(agent, "host-named", origin.url, hostHeader="inside.example.net")
    kept = headers_seen(stack.get("host-kept"))["host"][0]
    assert kept.partition(":")[0] == "host-kept.apps.example.com"
    assert headers_seen(stack.get("host-target"))["host"][0].partition(":")[0] == "127.0.0.1"
    assert headers_seen(stack.get("host-named"))["host"] == ["inside.example.net"]


def test_a_failing_check_takes_the_target_out_and_shows(stack: Stack, agent: StackAgent) -> None:
    """503 for visitors, `down` in the list, and back again when the check passes."""
    with Origin("checked") as checked:
        publish(
            agent,
            "checked",
            checked.url,
            check={"path": "/healthz", "interval": "100ms", "fall": 1, "rise": 1},
        )

        def health() -> str:
            return str(agent.api.routes()["checked.apps.example.com"]["health"])

        until("it is checked", lambda: checked.hits("/healthz") > 0)
        until("it is up", lambda: health() == "up", seconds=30)
        checked.statuses["/healthz"] = 500
        until("visitors get 503", lambda: stack.get("checked").status_code == 503)
        until("it is down", lambda: health() == "down", seconds=30)
        checked.statuses.clear()
        until("visitors are served", lambda: stack.get("checked").status_code == 200)


def test_a_slow_origin_ends_in_a_timeout_of_the_routes_own(
    stack: Stack, agent: StackAgent, origin: Origin
) -> None:
    """504 where the route says so; a neighbour with the operator's timeout goes on waiting."""
    publish(agent, "hasty", origin.url, timeouts={"server": "200ms"})
    publish(agent, "patient", origin.url)
    assert stack.get("hasty", "/slow?seconds=3").status_code == 504
    assert stack.get("patient", "/slow?seconds=0.5").status_code == 200


def test_a_target_gets_no_more_connections_than_allowed(stack: Stack, agent: StackAgent) -> None:
    with Origin("narrow") as narrow, ThreadPoolExecutor(6) as pool:
        publish(agent, "narrow", narrow.url, maxConnections=2)
        held = [
            pool.submit(httpx.get, stack.url("narrow", "/hold"), trust_env=False, timeout=30)
            for _ in range(6)
        ]
        until("two are being answered", lambda: narrow.busy == 2)

        def released() -> bool:
            narrow.finish()
            return all(future.done() for future in held)

        until("all are answered", released)
        assert [future.result().status_code for future in held] == [200] * 6
        assert narrow.busiest == 2


def test_a_tls_origin_is_verified(stack: Stack, agent: StackAgent) -> None:
    """By its name and the CA given with the route; by the system's CAs without one."""
    pem = stack.ca.issue("inside.example.net")
    ca = stack.ca.pem
    with Origin("secret", tls=pem) as secret:
        name = {"serverName": "inside.example.net"}
        publish(agent, "tls-own-ca", secret.url, originTls={**name, "ca": ca})
        publish(agent, "tls-wrong-name", secret.url, originTls={"serverName": "x.net", "ca": ca})
        publish(agent, "tls-system-ca", secret.url, originTls=name)
        publish(agent, "tls-unverified", secret.url, originTls={"verify": False})
        assert stack.get("tls-own-ca").json()["sni"] == "inside.example.net"
        assert stack.get("tls-wrong-name").status_code == 503
        assert stack.get("tls-system-ca").status_code == 503
        assert stack.get("tls-unverified").json()["origin"] == "secret"


def test_a_host_name_is_resolved(stack: Stack, agent: StackAgent, origin: Origin) -> None:
    """By the front server: HAProxy's dynamic servers never do."""
    answer = agent.api.http("named", f"http://localhost:{origin.port}")
    assert (answer.status_code, answer.json()["status"]) == (201, "active"), answer.text
    assert stack.get("named").json()["origin"] == "one"


def test_a_name_that_does_not_resolve_is_pending(agent: StackAgent) -> None:
    """It is stored, and told why it isn't live; nobody is kept waiting."""
    answer = agent.api.http("nowhere", "http://nowhere.invalid:80", wait=3)
    assert answer.status_code == 202
    assert answer.json()["status"] == "pending"
    location = agent.api.client.get(answer.headers["Location"])
    assert "nowhere.invalid" in location.json()["reason"]


@pytest.mark.parametrize("balance", ["leastconn", "first", "random", "source", "uri"])
def test_every_balance_serves(
    stack: Stack, agent: StackAgent, origin: Origin, other: Origin, balance: str
) -> None:
    publish(
        agent,
        f"balance-{balance}",
        targets=[{"url": origin.url}, {"url": other.url}],
        balance=balance,
    )
    answers = [stack.get(f"balance-{balance}", "/same") for _ in range(6)]
    assert {answer.status_code for answer in answers} == {200}
    if balance in {"source", "uri", "first"}:
        assert len({answer.json()["origin"] for answer in answers}) == 1
