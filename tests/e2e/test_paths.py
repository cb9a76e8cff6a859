"""Several routes below one domain, told apart by path; maintenance and draining at run time."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from harness.origin import Origin
from harness.polling import until
from harness.stack import Stack, StackAgent


@pytest.fixture(scope="module")
def agent(stack: Stack) -> StackAgent:
    return stack.registered("paths")


@pytest.fixture(scope="module")
def root(stack: Stack) -> Origin:
    return stack.origin("root")


@pytest.fixture(scope="module")
def api(stack: Stack) -> Origin:
    return stack.origin("api")


@pytest.fixture(scope="module")
def deep(stack: Stack) -> Origin:
    return stack.origin("deep")


def publish(agent: StackAgent, subdomain: str, *where: str, path: str = "/", **options: Any) -> Any:
    """Publish a route that must be active at once."""
    answer = agent.api.http(subdomain, *where, path=path, **options)
    assert answer.status_code in {200, 201}, answer.text
    assert answer.json()["status"] == "active", answer.text
    return answer.json()


def asked(stack: Stack, subdomain: str, target: str) -> str:
    """Which origin answers; `target` is sent as it is, dots and all, or the status if none."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.front.http_port, timeout=10)
    try:
        connection.request("GET", target, headers={"Host": f"{subdomain}.apps.example.com"})
        answer = connection.getresponse()
        body = answer.read()
        return answer.headers.get("X-Origin") or f"{answer.status} {body[:40]!r}"
    finally:
        connection.close()


@contextmanager
def without_reload(stack: Stack) -> Iterator[None]:
    """The same worker serves before and after, and none came; an older one may have left."""
    sockets = stack.front.sockets
    current, before = sockets.worker_pid(), sockets.worker_pids()
    yield
    assert sockets.worker_pid() == current
    assert set(sockets.worker_pids()) <= set(before)


# --- routing ---


def test_the_longest_path_wins(
    stack: Stack, agent: StackAgent, root: Origin, api: Origin, deep: Origin
) -> None:
    """By whole segments, with case, without the query; what no path has is the root's."""
    with without_reload(stack):
        publish(agent, "long", root.url)
        publish(agent, "long", deep.url, path="/api/v2")
        publish(agent, "long", api.url, path="/api/")
    for target, origin in {
        "/": "root",
        "/ap": "root",
        "/apix": "root",
        "/apix/api": "root",
        "/API": "root",
        "/?path=/api/": "root",
        "/api": "api",
        "/api/": "api",
        "/api?x=/api/v2/": "api",
        "/api/x": "api",
        "/api/v2x": "api",
        "/api/v": "api",
        "/api/v2": "deep",
        "/api/v2/": "deep",
        "/api/v2/a/b?c=d": "deep",
        "/api/v2/" + "x" * 4000: "deep",
    }.items():
        assert asked(stack, "long", target) == origin, target


def test_the_origin_sees_the_whole_path(stack: Stack, agent: StackAgent, api: Origin) -> None:
    publish(agent, "whole", api.url, path="/api")
    assert stack.get("whole", "/api/x?y=z").json()["path"] == "/api/x?y=z"


def test_a_path_without_a_root(stack: Stack, agent: StackAgent, api: Origin) -> None:
    """What no route has is nobody's, until somebody has it."""
    publish(agent, "rootless", api.url, path="/api")
    assert asked(stack, "rootless", "/api/x") == "api"
    assert asked(stack, "rootless", "/").startswith("404")
    assert asked(stack, "rootless", "/apix").startswith("404")


def test_paths_count_as_they_are_written(
    stack: Stack, agent: StackAgent, root: Origin, api: Origin
) -> None:
    """Nothing is decoded or resolved: an odd spelling gets whatever it begins with.

    Whoever asks so stays with the one agent that has the domain.
    """
    publish(agent, "literal", root.url)
    publish(agent, "literal", api.url, path="/api")
    for target, origin in {
        "//api": "root",
        "/./api": "root",
        "/x/../api": "root",
        "/%61pi": "root",
        "/api%2Fx": "root",
        "/%2e%2e/api": "root",
        "/api/../x": "api",
        "/api//": "api",
        "/api/%2e%2e/x": "api",
    }.items():
        assert asked(stack, "literal", target) == origin, target
    for host in ("other.apps.example.com/api", "literal.apps.example.com/api/../.."):
        answer = stack.get("literal", "/x", headers={"Host": host})
        assert answer.headers.get("X-Origin", "api") == "api", host


def test_one_path_goes_and_the_others_stay(
    stack: Stack, agent: StackAgent, root: Origin, api: Origin, deep: Origin
) -> None:
    """What it had falls to the next shorter path; removed twice is unknown."""
    publish(agent, "going", root.url)
    publish(agent, "going", api.url, path="/api")
    publish(agent, "going", deep.url, path="/api/v2")
    with without_reload(stack):
        assert agent.api.remove("going", path="/api/v2").json()["status"] == "removed"
        assert asked(stack, "going", "/api/v2/x") == "api"
        gone = agent.api.client.delete(
            "/api/proxy", params={"agentId": "paths", "subdomain": "going", "path": "/api/"}
        )
        assert gone.json()["status"] == "removed"
        assert asked(stack, "going", "/api/v2/x") == "root"
        assert agent.api.remove("going", path="/api").status_code == 404
        assert agent.api.remove("going").json()["status"] == "removed"
    assert asked(stack, "going", "/").startswith("404")


def test_paths_are_shown_where_they_are(
    stack: Stack, agent: StackAgent, root: Origin, api: Origin
) -> None:
    """In the answer, in the list and for polling; a route of the root looks as it always did."""
    assert "path" not in publish(agent, "shown", root.url)
    answer = publish(agent, "shown", api.url, path="/api/")
    assert (answer["path"], answer["route"]["path"]) == ("/api", "/api")
    assert answer["domain"] == "shown.apps.example.com"
    listed = agent.api.routes()
    assert "path" not in listed["shown.apps.example.com"]
    assert listed["shown.apps.example.com/api"]["targetUrl"] == api.url
    polled = agent.api.client.get("/api/proxy/routes/http/shown", params={"path": "/api"})
    assert polled.json()["route"] == listed["shown.apps.example.com/api"]
    assert agent.api.client.get("/api/proxy/routes/http/shown?path=/x").status_code == 404


def test_a_pending_path_says_where_to_look(agent: StackAgent) -> None:
    answer = agent.api.http("later", "http://nowhere.invalid:80", path="/api", wait=2)
    assert answer.status_code == 202
    polled = agent.api.client.get(answer.headers["Location"])
    assert polled.json()["route"]["path"] == "/api"
    gone = agent.api.remove("later", path="/api")
    assert gone.status_code == 200


def test_a_subdomain_is_one_agents_whatever_the_path(
    stack: Stack, agent: StackAgent, root: Origin, api: Origin
) -> None:
    """Also where only a path of it is taken; a longer name is another name."""
    publish(agent, "onlypath", api.url, path="/api")
    publish(agent, "onlyroot", root.url)
    rival = stack.registered("path-rival")
    for subdomain in ("onlypath", "onlyroot"):
        for path in ("/", "/api", "/x", "/api/v2"):
            refused = rival.api.http(subdomain, root.url, path=path)
            assert refused.status_code == 409, (subdomain, path)
            assert rival.api.remove(subdomain, path=path).status_code == 404
    publish(rival, "onlypath-x", root.url)
    publish(rival, "onlypat", root.url, path="/api")
    assert asked(stack, "onlypath", "/api") == "api"


def test_options_belong_to_a_path(
    stack: Stack, agent: StackAgent, root: Origin, api: Origin
) -> None:
    """A redirect of one path is none of the others', and plain HTTP only is neither."""
    publish(agent, "flagged", root.url)
    publish(agent, "flagged", api.url, path="/secure", redirectHttps=True)
    publish(agent, "flagged", api.url, path="/plain", useTls=False)
    assert asked(stack, "flagged", "/x") == "root"
    assert stack.get("flagged", "/secure/x").status_code == 301
    assert asked(stack, "flagged", "/plain/x") == "api"

    def over_tls(path: str) -> int:
        return stack.client.get(stack.url("flagged", path, scheme="https")).status_code

    assert [over_tls(path) for path in ("/x", "/secure/x", "/plain/x")] == [200, 200, 404]
    assert agent.api.remove("flagged", path="/secure").status_code == 200
    assert asked(stack, "flagged", "/secure/x") == "root"


def test_visitors_stick_to_each_path_on_its_own(
    stack: Stack, agent: StackAgent, root: Origin, api: Origin, deep: Origin
) -> None:
    """One cookie name on two paths of a domain: each keeps its visitor, in any order."""
    fourth = stack.origin("fourth")
    publish(agent, "sticking", targets=targets(root, fourth), sticky=True)
    publish(agent, "sticking", targets=targets(api, deep), sticky=True, path="/api")
    for first in ("/", "/api/x"):
        for _ in range(6):
            with httpx.Client(trust_env=False) as visitor:
                homes: dict[str, set[str]] = {"/": set(), "/api": set()}
                paths = (first, "/", "/api", "/api/x", "/y", "/api/x/y", "/", "/apix", "/api")
                for path in paths:
                    below = "/api" if path in {"/api", "/api/x", "/api/x/y"} else "/"
                    answer = visitor.get(stack.url("sticking", path))
                    homes[below].add(answer.json()["origin"])
            assert [len(home) for home in homes.values()] == [1, 1], homes


def test_paths_survive_a_reload(stack: Stack, agent: StackAgent, root: Origin, api: Origin) -> None:
    publish(agent, "reloaded", root.url)
    publish(agent, "reloaded", api.url, path="/api", maintenance=True)
    publish(agent, "reloading", root.url, timeouts={"connect": "4321ms"})  # A profile of its own.
    assert asked(stack, "reloaded", "/x") == "root"
    assert asked(stack, "reloaded", "/api").startswith("503")
    publish(agent, "reloaded", api.url, path="/api")
    assert asked(stack, "reloaded", "/api") == "api"


# --- maintenance ---


def test_maintenance_begins_and_ends_at_run_time(
    stack: Stack, agent: StackAgent, root: Origin, api: Origin
) -> None:
    """503 and when to come back; the origin hears of nobody, and other routes of nothing."""
    publish(agent, "upkeep", root.url)
    publish(agent, "upkeep", api.url, path="/api")
    with without_reload(stack):
        publish(agent, "upkeep", root.url, maintenance=True)
        before = root.hits("/not-now")
        for scheme in ("http", "https"):
            answer = stack.client.get(stack.url("upkeep", "/not-now", scheme=scheme))
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert "maintenance" in answer.text
            assert answer.headers["Content-Type"] == "text/plain"
        assert root.hits("/not-now") == before
        assert asked(stack, "upkeep", "/api/x") == "api"
        publish(agent, "upkeep", root.url)
        assert asked(stack, "upkeep", "/not-now") == "root"


def test_health_checks_go_on_under_maintenance(stack: Stack, agent: StackAgent) -> None:
    """So that the route is known to be fit before visitors come back."""
    with Origin("checked") as checked:
        publish(
            agent,
            "fit",
            checked.url,
            check={"path": "/healthz", "interval": "100ms", "fall": 1, "rise": 1},
            maintenance=True,
        )
        seen = checked.hits("/healthz")
        until("it is checked again", lambda: checked.hits("/healthz") > seen + 1)
        assert stack.get("fit").status_code == 503
        assert checked.hits("/") == 0


def test_a_site_that_is_plain_http_only_has_no_maintenance_page_over_tls(
    stack: Stack, agent: StackAgent, root: Origin
) -> None:
    publish(agent, "plainly", root.url, useTls=False, maintenance=True)
    assert stack.get("plainly").status_code == 503
    assert stack.client.get(stack.url("plainly", scheme="https")).status_code == 404


# --- draining ---


def targets(*origins: Origin, draining: Origin | None = None) -> list[dict[str, Any]]:
    return [{"url": origin.url, "drain": origin is draining} for origin in origins]


def test_a_drained_target_keeps_its_visitors_and_gets_no_new_ones(
    stack: Stack, agent: StackAgent, root: Origin, api: Origin
) -> None:
    """By their cookie; a request under way ends in peace; and back again, all without a reload."""
    publish(agent, "drained", targets=targets(root, api), sticky=True)

    @contextmanager
    def visitor_of(origin: Origin) -> Iterator[httpx.Client]:
        cookies: list[httpx.Cookies] = []

        def arrived() -> bool:
            answer = httpx.get(stack.url("drained"), trust_env=False)
            cookies.append(answer.cookies)
            return bool(answer.json()["origin"] == origin.name)

        until(f"somebody is sent to {origin.name}", arrived)
        with httpx.Client(trust_env=False, cookies=cookies[-1]) as visitor:
            yield visitor

    def strangers() -> set[str]:
        asks = (httpx.get(stack.url("drained"), trust_env=False) for _ in range(8))
        return {answer.json()["origin"] for answer in asks}

    with visitor_of(api) as visitor, without_reload(stack):
        publish(agent, "drained", targets=targets(root, api, draining=api), sticky=True)
        assert strangers() == {"root"}
        for _ in range(4):
            assert visitor.get(stack.url("drained")).json()["origin"] == "api"
        publish(agent, "drained", targets=targets(root, api), sticky=True)
        assert strangers() == {"root", "api"}
        assert visitor.get(stack.url("drained")).json()["origin"] == "api"


@pytest.mark.parametrize("balance", ["roundrobin", "leastconn", "first", "random", "source", "uri"])
def test_draining_works_with_every_balance(
    stack: Stack, agent: StackAgent, root: Origin, api: Origin, balance: str
) -> None:
    name = f"drain-{balance}"
    publish(agent, name, targets=targets(root, api), balance=balance)
    for draining, left in ((api, "root"), (root, "api")):
        with without_reload(stack):
            publish(agent, name, targets=targets(root, api, draining=draining), balance=balance)
            assert {asked(stack, name, f"/{n}") for n in range(8)} == {left}


def test_a_request_under_way_ends_in_peace_while_its_target_drains(
    stack: Stack, agent: StackAgent, root: Origin
) -> None:
    with Origin("leaving") as leaving:
        publish(agent, "peaceful", targets=targets(root, leaving), balance="first")
        connection = http.client.HTTPConnection("127.0.0.1", stack.front.http_port, timeout=30)
        held = {"Host": "peaceful.apps.example.com"}
        first = asked(stack, "peaceful", "/")
        busy = leaving if first == "leaving" else root
        connection.request("GET", "/slow?seconds=1", headers=held)
        until("it is being answered", lambda: busy.busy == 1)
        publish(agent, "peaceful", targets=targets(root, leaving, draining=busy), balance="first")
        assert connection.getresponse().headers["X-Origin"] == first
        connection.close()
        assert asked(stack, "peaceful", "/") != first


def test_the_last_target_may_drain_too(stack: Stack, agent: StackAgent, root: Origin) -> None:
    """Then there is nobody for new visitors: 503, which is what was asked for."""
    publish(agent, "empty", targets=targets(root, draining=root))
    assert stack.get("empty").status_code == 503


def test_a_weight_changes_without_a_reload(
    stack: Stack, agent: StackAgent, root: Origin, api: Origin
) -> None:
    publish(agent, "heavier", targets=[{"url": root.url}, {"url": api.url, "weight": 1}])
    with without_reload(stack):
        publish(agent, "heavier", targets=[{"url": root.url, "weight": 1}, {"url": api.url}])
        found = [asked(stack, "heavier", "/") for _ in range(10)]
    assert found.count("api") >= 9
