"""Hostile values in every field: refused, and never a byte of them in HAProxy's files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.stack import Stack, StackAgent

# In every hostile value, so that it can be found again.
MARK = "h0st1le"

HOSTILE = {
    "newline": f"{MARK}\n    http-request deny",
    "carriage return": f"{MARK}\r\nX: y",
    "NUL": f"{MARK}\0",
    "double quote": f'{MARK}"x"',
    "single quote": f"{MARK}'x'",
    "percent": f"{MARK}%[src]",
    "dollar": f"{MARK}${{HOME}}",
    "space": f"{MARK} x",
    "tab": f"{MARK}\tx",
    "semicolon": f"{MARK};show env",
    "hash": f"{MARK}#x",
    "backslash": f"{MARK}\\x",
    "look-alike": f"{MARK}\u0430\u0440\u0440s",
    "full-width": f"{MARK}\uff0e\uff0fx",
    "line separator": f"{MARK}\u2028x",
    "bidi": f"{MARK}\u202ex",
    "long": MARK + "x" * 10_000,
    "path": f"../../{MARK}",
}

Body = dict[str, Any]


def _route(**changed: Any) -> Body:
    return {"subdomain": "hostile", "targetUrl": "http://127.0.0.1:9", **changed}


def _options(**options: Any) -> Body:
    return _route(options=options)


HTTP_FIELDS: dict[str, Callable[[str], Body]] = {
    "agentId": lambda v: _route(agentId=v),
    "subdomain": lambda v: _route(subdomain=v),
    "targetUrl": lambda v: _route(targetUrl=f"http://{v}:80"),
    "targetUrl path": lambda v: _route(targetUrl=f"http://127.0.0.1:80/{v}"),
    "targetUrl user": lambda v: _route(targetUrl=f"http://{v}@127.0.0.1:80"),
    "targetUrl port": lambda v: _route(targetUrl=f"http://127.0.0.1:{v}"),
    "targetUrl scheme": lambda v: _route(targetUrl=f"{v}://127.0.0.1:80"),
    "unknown option": lambda v: _options(**{v: True}),
    "useTls": lambda v: _options(useTls=v),
    "redirectHttps": lambda v: _options(redirectHttps=v),
    "check": lambda v: _options(check=v),
    "check.path": lambda v: _options(check={"path": f"/{v}"}),
    "check.host": lambda v: _options(check={"path": "/", "host": v}),
    "check.interval": lambda v: _options(check={"interval": v}),
    "check.timeout": lambda v: _options(check={"timeout": v}),
    "check.rise": lambda v: _options(check={"rise": v}),
    "check.expectStatus": lambda v: _options(check={"path": "/", "expectStatus": v}),
    "targets.url": lambda v: _options(targets=[{"url": f"http://{v}"}]),
    "targets.weight": lambda v: _options(targets=[{"url": "http://127.0.0.1:8", "weight": v}]),
    "targets.backup": lambda v: _options(targets=[{"url": "http://127.0.0.1:8", "backup": v}]),
    "balance": lambda v: _options(balance=v),
    "sticky": lambda v: _options(sticky=v),
    "sticky.cookie": lambda v: _options(sticky={"cookie": v}),
    "timeouts.server": lambda v: _options(timeouts={"server": v}),
    "timeouts.connect": lambda v: _options(timeouts={"connect": v}),
    "timeouts.queue": lambda v: _options(timeouts={"queue": v}),
    "timeouts.tunnel": lambda v: _options(timeouts={"tunnel": v}),
    "headers.request.set name": lambda v: _options(headers={"request": {"set": {v: "1"}}}),
    "headers.request.set value": lambda v: _options(headers={"request": {"set": {"X-A": v}}}),
    "headers.request.remove": lambda v: _options(headers={"request": {"remove": [v]}}),
    "headers.response.set name": lambda v: _options(headers={"response": {"set": {v: "1"}}}),
    "headers.response.set value": lambda v: _options(headers={"response": {"set": {"X-A": v}}}),
    "headers.response.remove": lambda v: _options(headers={"response": {"remove": [v]}}),
    "maxConnections": lambda v: _options(maxConnections=v),
    "hostHeader": lambda v: _options(hostHeader=v),
    "originTls.verify": lambda v: _options(originTls={"verify": v}),
    "originTls.serverName": lambda v: _options(originTls={"serverName": v}),
    "originTls.ca": lambda v: _options(originTls={"ca": v}),
}
MONGO_FIELDS: dict[str, Callable[[str], Body]] = {
    "targetHost": lambda v: {"targetHost": v},
    "targetPort": lambda v: {"targetHost": "127.0.0.1", "targetPort": v},
    "useTls": lambda v: {"targetHost": "127.0.0.1", "options": {"useTls": v}},
    "check": lambda v: {"targetHost": "127.0.0.1", "options": {"check": v}},
    "unknown option": lambda v: {"targetHost": "127.0.0.1", "options": {v: 1}},
}

# Printable ASCII is a legal header value (RFC 9110 section 5.5), and these are legal in a path
# (RFC 3986 section 3.3); how they fare is another test's subject.
_PRINTABLE = {
    *("double quote", "single quote", "percent", "dollar", "space"),
    *("semicolon", "hash", "backslash", "path"),
}
LEGAL = {
    "headers.request.set value": _PRINTABLE,
    "headers.response.set value": _PRINTABLE,
    "check.path": {"single quote", "semicolon", "path"},
}


@pytest.fixture(scope="module")
def agent(stack: Stack) -> StackAgent:
    """An agent with one ordinary route, whose values must be found by the same search."""
    agent = stack.registered("target-of-hostility")
    answer = agent.api.http(
        "ordinary",
        stack.origin("ordinary").url,
        headers={"request": {"set": {"X-Ordinary": "ordinary-value"}}},
        check={"path": "/ordinary-path"},
    )
    assert answer.json()["status"] == "active"
    return agent


def files_with(stack: Stack, text: str) -> list[Path]:
    """The files of HAProxy's configuration that hold `text`."""
    files = [path for path in stack.front.config_dir.rglob("*") if path.is_file()]
    assert files, "there is a configuration to search in"
    return [path for path in files if text.encode() in path.read_bytes()]


def test_hostile_values_are_refused_and_leave_no_trace(stack: Stack, agent: StackAgent) -> None:
    """Every field with every value."""
    accepted = []
    for path, fields in (("/api/proxy/http", HTTP_FIELDS), ("/api/proxy/mongodb", MONGO_FIELDS)):
        for field, build in fields.items():
            for kind, value in HOSTILE.items():
                if kind in LEGAL.get(field, ()):
                    continue
                body = {"agentId": agent.agent_id, **build(value)}
                answer = agent.api.client.post(path, json=body, headers={"Prefer": "wait=0"})
                if not 400 <= answer.status_code < 500:
                    accepted.append((path, field, kind, answer.status_code))
    assert accepted == []
    assert [r for r in agent.api.routes().values() if r["type"] == "mongodb"] == []
    assert set(agent.api.routes()) == {"ordinary.apps.example.com"}
    assert files_with(stack, MARK) == []
    for known in ("ordinary-value", "/ordinary-path", "ordinary.apps.example.com"):
        assert files_with(stack, known), f"the search finds {known}"


@pytest.mark.parametrize("field", ["agentId", "agentKey", "agentName", "targetIp"])
def test_hostile_registrations_reach_no_configuration(
    stack: Stack, agent: StackAgent, field: str
) -> None:
    """A key or a display name may hold what a host name may not; neither gets to HAProxy."""
    for number, (kind, value) in enumerate(HOSTILE.items()):
        body = {
            "agentId": f"reg-{field.lower()}-{number}",
            "agentKey": "a-perfectly-good-key",
            "targetIp": "127.0.0.1",
            field: value,
        }
        answer = agent.api.client.post("/api/agents/register", json=body)
        assert answer.status_code < 500, (kind, answer.text)
        if field in {"agentId", "targetIp"} or kind in {"newline", "NUL", "long"}:
            assert 400 <= answer.status_code < 500, (field, kind)
    assert files_with(stack, MARK) == []


def test_hostile_paths_and_queries_are_no_server_error(agent: StackAgent) -> None:
    """Nor do they find anything."""
    for value in HOSTILE.values():
        assert agent.api.client.get("/api/agents/x", params={"q": value}).status_code < 500
        for place in ("/api/config/", "/api/proxy/agents/", "/api/proxy/routes/http/"):
            path = place + "".join(f"%{byte:02x}" for byte in value.encode())
            assert 400 <= agent.api.client.get(path).status_code < 500
        removed = agent.api.remove(value)
        assert 400 <= removed.status_code < 500


# Everything that means something to HAProxy: its quoting, its variables, its formats, its
# comments, its commands' separator.
TRICKY = "\"quoted' 'both\" %[src] %ci ${HOME} \\ # ; <<EOF @1 -m reg"


def test_a_legal_header_value_arrives_byte_for_byte(stack: Stack, agent: StackAgent) -> None:
    """Live, after a reload, and after a start from disk: nothing in it is interpreted."""
    headers = {"request": {"set": {"X-Tricky": TRICKY}}, "response": {"set": {"X-Back": TRICKY}}}
    answer = agent.api.http("tricky", stack.origin("tricky").url, headers=headers)
    assert answer.json()["status"] == "active", answer.text

    def check() -> None:
        seen = stack.get("tricky")
        assert ["x-tricky", TRICKY] in [[n.lower(), v] for n, v in seen.json()["headers"]]
        assert seen.headers["X-Back"] == TRICKY

    check()
    unseen = {"request": {"set": {"X-Reload-Please": "1"}}}
    worker = stack.front.sockets.worker_pid()
    reloaded = agent.api.http("reloads", stack.origin("reloads").url, headers=unseen)
    assert reloaded.json()["status"] == "active"
    assert stack.front.sockets.worker_pid() != worker
    check()
    agent.api.remove("tricky")
    agent.api.remove("reloads")
