"""Requests that must be refused, each with the status that it must get; they change nothing."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from harness.frontserver import ADMIN_TOKEN
from tests.stateful.site import Site

Request = Callable[[Site], httpx.Response]


def _http(body: dict[str, object]) -> Request:
    """A route of ann's."""

    def send(site: Site) -> httpx.Response:
        usual = {"agentId": "ann", "subdomain": "one", "targetUrl": site.urls["ann-1"]}
        return site.agents["ann"].api.client.post("/api/proxy/http", json=usual | body)

    return send


def _batch(*bodies: dict[str, object]) -> Request:
    """Routes of the operator's; the first is a good one."""

    def send(site: Site) -> httpx.Response:
        usual = {"agentId": "ann", "subdomain": "one", "targetUrl": site.urls["ann-1"]}
        return site.stack.client.post(
            f"{site.stack.front.api_url}/api/proxy/routes",
            json={"routes": [usual | body for body in bodies]},
            headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
        )

    return send


def _malformed(site: Site) -> httpx.Response:
    client = site.agents["ann"].api.client
    return client.post(
        "/api/proxy/http",
        content=b'{"agentId": "ann", "subdomain"',
        headers={"Content-Type": "application/json"},
    )


def _own_port(site: Site) -> httpx.Response:
    target = f"http://127.0.0.1:{site.stack.front.http_port}"
    return _http({"targetUrl": target})(site)


def _wrong_key(site: Site) -> httpx.Response:
    client = site.agents["ann"].api.client
    body = {"agentId": "ann", "subdomain": "one", "targetUrl": site.urls["ann-1"]}
    return client.post("/api/proxy/http", json=body, auth=("ann", "not-the-key-of-ann"))


def _wrong_kind(site: Site) -> httpx.Response:
    return site.agents["ann"].api.remove("one", kind="ftp")


REFUSED: dict[str, tuple[int, Request]] = {
    "a reserved name": (422, _http({"subdomain": "www"})),
    "a name that is none": (422, _http({"subdomain": "not_a name"})),
    "a path that is none": (422, _http({"path": "/a//b"})),
    "a path of dots": (422, _http({"path": "/a/.."})),
    "a target that is none": (422, _http({"targetUrl": "ftp://127.0.0.1"})),
    "no target": (422, _http({"targetUrl": None})),
    "a target of ours": (422, _own_port),
    "an unknown option": (422, _http({"options": {"stickyness": True}})),
    "a wrong type": (422, _http({"options": {"maintenance": "perhaps"}})),
    "a header of ours": (
        422,
        _http({"options": {"headers": {"request": {"set": {"Host": "x"}}}}}),
    ),
    "a redirect to nowhere": (422, _http({"options": {"useTls": False, "redirectHttps": True}})),
    "another agent's": (403, _http({"agentId": "bob"})),
    "a wrong key": (401, _wrong_key),
    "half a request": (400, _malformed),
    "no kind of route": (422, _wrong_kind),
    "a batch of nothing": (422, _batch()),
    "a batch with a bad one": (422, _batch({}, {"path": "/b", "subdomain": "www"})),
    "a batch with a stranger": (404, _batch({"path": "/b"}, {"agentId": "who", "subdomain": "x"})),
}
