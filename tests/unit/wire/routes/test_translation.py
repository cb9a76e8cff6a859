"""From a request, as it comes off the wire, to the route that it asks for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontserver.errors import InputError
from frontserver.model.routes import (
    Balance,
    HealthCheck,
    HostHeader,
    HttpRoute,
    OriginTls,
    RouteKey,
    RouteKind,
    StatusRange,
    Timeouts,
)
from frontserver.model.targets import HostPort
from frontserver.wire.routes.options import Duration
from frontserver.wire.routes.requests import HttpRouteRequest, MongoRouteRequest
from frontserver.wire.routes.translation import duration_ms, http_route, mongo_route


def http(
    options: dict[str, Any] | None = None,
    *,
    tls_available: bool = True,
    reserved: frozenset[str] | None = None,
    **fields: Any,
) -> HttpRoute:
    """The route of a request as it comes off the wire."""
    body = {"agentId": "a1", "subdomain": "shop", "targetUrl": "http://203.0.113.7:3000"} | fields
    if options is not None:
        body["options"] = options
    request = msgspec.convert(body, HttpRouteRequest)
    return http_route(
        request, app_domain="apps.example.com", tls_available=tls_available, reserved=reserved
    )


def test_a_path_is_optional_and_has_one_spelling() -> None:
    assert http().path == "/"
    assert http(path="/").key == http().key == RouteKey(RouteKind.HTTP, "shop")
    assert http(path="/api/").key == http(path="/api").key == RouteKey(RouteKind.HTTP, "shop/api")
    key = http(path="/api/v2").key
    assert (key.label, key.path, str(key)) == ("shop", "/api/v2", "http:shop/api/v2")
    assert (http().key.label, http().key.path) == ("shop", "/")


@pytest.mark.parametrize("path", ["", "api", "/a b", "/..", "//", "/a?b", "/%61", "/" + "a" * 128])
def test_a_bad_path_is_refused_by_its_name(path: str) -> None:
    assert refused(path=path) == "path"


def test_maintenance_and_draining_are_off_unless_asked_for() -> None:
    assert not http().maintenance
    assert not http().targets[0].drain
    asked = {"maintenance": True, "targets": [{"url": "http://203.0.113.7:3000", "drain": True}]}
    assert http(asked).maintenance
    assert [target.drain for target in http(asked).targets] == [True]


def refused(options: dict[str, Any] | None = None, **fields: Any) -> str:
    """The field that the refusal names."""
    with pytest.raises(InputError) as refusal:
        http(options, **fields)
    return refusal.value.field


# -- HTTP routes ------------------------------------------------------------------------------


def test_without_options_everything_has_its_default() -> None:
    route = http()
    assert route == http({})
    assert route == HttpRoute(
        agent_id=route.agent_id,
        subdomain=route.subdomain,
        domain=route.domain,
        targets=route.targets,
    )


def test_https_follows_the_operators_certificate() -> None:
    assert http().use_tls
    assert not http({"useTls": False}).use_tls
    assert not http(tls_available=False).use_tls
    assert not http({"useTls": True}, tls_available=False).use_tls


def test_a_redirect_needs_https_to_go_to() -> None:
    assert http({"redirectHttps": True}).redirect_https
    assert refused({"redirectHttps": True, "useTls": False}) == "options.redirectHttps"
    assert refused({"redirectHttps": True}, tls_available=False) == "options.redirectHttps"


def test_all_options_reach_the_model() -> None:
    route = http(
        {
            "check": {
                "path": "/health",
                "interval": 5,
                "timeout": "500ms",
                "rise": 1,
                "fall": 4,
                "expectStatus": "200-299",
                "host": "Check.example.com",
            },
            "targets": [{"url": "https://b.example.com", "weight": 7, "backup": True}],
            "balance": "uri",
            "sticky": {"cookie": "SHOP"},
            "timeouts": {"connect": 1.5, "server": "1m", "queue": "2h", "tunnel": "1d"},
            "headers": {
                "request": {"set": {"X-B": "2", "X-A": "1"}, "remove": ["Cookie", "COOKIE"]},
                "response": {"remove": ["Server"]},
            },
            "maxConnections": 100,
            "hostHeader": "Other.example.com",
            "originTls": {"verify": True, "serverName": "Name.example.com", "ca": "PEM"},
        }
    )
    assert route.check == HealthCheck(
        path="/health",
        interval_ms=5000,
        timeout_ms=500,
        rise=1,
        fall=4,
        expect=StatusRange(200, 299),
        host=route.check.host if route.check else None,
    )
    assert route.check.host == "check.example.com"
    assert [(str(t.url), t.weight, t.backup) for t in route.targets] == [
        ("http://203.0.113.7:3000", 100, False),
        ("https://b.example.com:443", 7, True),
    ]
    assert route.balance is Balance.URI
    assert route.sticky == "SHOP"
    assert route.timeouts == Timeouts(
        connect_ms=1500, server_ms=60_000, queue_ms=7_200_000, tunnel_ms=86_400_000
    )
    assert route.request_headers.set == (("x-a", "1"), ("x-b", "2"))
    assert route.request_headers.remove == ("cookie",)
    assert route.response_headers.remove == ("server",)
    assert route.max_connections == 100
    assert route.host_header == "other.example.com"
    assert route.origin_tls.verify
    assert route.origin_tls.server_name == "name.example.com"
    assert route.origin_tls.ca_pem == "PEM"


def test_short_forms_of_options() -> None:
    assert http({"check": False}).check is None
    assert http({"check": True}).check == HealthCheck()
    assert http({"check": {"path": "/"}}).check == HealthCheck(path="/")
    assert http({"check": {"path": "/", "expectStatus": 204}}).check == HealthCheck(
        path="/", expect=StatusRange(204, 204)
    )
    assert http({"sticky": False}).sticky is None
    assert http({"sticky": True}).sticky == http({"sticky": {}}).sticky == "FSID"
    assert http({"hostHeader": "target"}).host_header is HostHeader.TARGET
    assert http({"hostHeader": "preserve"}).host_header is HostHeader.PRESERVE
    assert http({"originTls": {}}).origin_tls == OriginTls()


def test_targets_stand_instead_of_or_beside_the_target_url() -> None:
    only = http({"targets": [{"url": "http://b.example.com"}]}, targetUrl=None)
    assert [str(target.url) for target in only.targets] == ["http://b.example.com:80"]
    both = http({"targets": [{"url": "http://b.example.com"}]})
    assert len(both.targets) == 2
    again = http({"targets": [{"url": "http://203.0.113.7:3000/", "weight": 5}]})
    assert [target.weight for target in again.targets] == [5]


def test_reserved_subdomains_are_the_operators_choice() -> None:
    assert refused(subdomain="www") == "subdomain"
    assert http(subdomain="www", reserved=frozenset()).subdomain == "www"
    assert refused(subdomain="shop", reserved=frozenset({"shop"})) == "subdomain"


HEADERS = {f"x-{n}": "v" for n in range(33)}


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("options.check.path", {"check": {"path": "health"}}),
        ("options.check.path", {"check": {"host": "a.example.com"}}),
        ("options.check.interval", {"check": {"interval": 0}}),
        ("options.check.interval", {"check": {"interval": "soon"}}),
        ("options.check.timeout", {"check": {"timeout": -1}}),
        ("options.check.expectStatus", {"check": {"path": "/", "expectStatus": 20}}),
        ("options.check.expectStatus", {"check": {"path": "/", "expectStatus": "2xx"}}),
        ("options.check.expectStatus", {"check": {"path": "/", "expectStatus": "300-200"}}),
        ("options.check.host", {"check": {"path": "/", "host": "a b"}}),
        ("options.check.rise", {"check": {"rise": 0}}),
        ("options.targets[0].url", {"targets": [{"url": "ftp://x"}]}),
        ("options.targets[1].weight", {"targets": [{"url": "a"}, {"url": "b", "weight": 0}]}),
        ("options.targets", {"targets": [{"url": "a"}, {"url": "http://a:80"}]}),
        ("options.sticky.cookie", {"sticky": {"cookie": "a b"}}),
        ("options.timeouts.server", {"timeouts": {"server": "8d"}}),
        ("options.timeouts.tunnel", {"timeouts": {"tunnel": "x"}}),
        ("options.headers.request.set", {"headers": {"request": {"set": {"Host": "x"}}}}),
        ("options.headers.request.set.X-A", {"headers": {"request": {"set": {"X-A": "a\nb"}}}}),
        ("options.headers.response.remove", {"headers": {"response": {"remove": ["a b"]}}}),
        ("options.headers.request", {"headers": {"request": {"set": HEADERS}}}),
        ("options.maxConnections", {"maxConnections": 0}),
        ("options.hostHeader", {"hostHeader": "a b"}),
        ("options.originTls.serverName", {"originTls": {"serverName": "a b"}}),
        ("options.profile", {"profile": "Gold!"}),
        ("options.profile", {"profile": ""}),
    ],
)
def test_a_bad_option_is_named_by_its_path(field: str, options: dict[str, Any]) -> None:
    assert refused(options) == field


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("agentId", {"agentId": "a b"}),
        ("subdomain", {"subdomain": "a.b"}),
        ("targetUrl", {"targetUrl": "http://a/b"}),
        ("targetUrl", {"targetUrl": None}),
        ("targetUrl", {"targetUrl": ""}),
        ("options.originTls", {"targetUrl": "https://203.0.113.7"}),
    ],
)
def test_a_bad_field_is_named(field: str, fields: dict[str, Any]) -> None:
    assert refused(**fields) == field


def test_a_domain_that_gets_too_long_is_the_subdomains_fault() -> None:
    request = HttpRouteRequest(agent_id="a1", subdomain="a" * 63, target_url="host")
    with pytest.raises(InputError) as refusal:
        http_route(request, app_domain=".".join(["b" * 49] * 4), tls_available=False)
    assert refusal.value.field == "subdomain"


@pytest.mark.parametrize(
    "options",
    [
        {"chekc": True},
        {"check": {"pth": "/"}},
        {"targets": [{"uri": "x"}]},
        {"timeouts": {"client": 1}},
        {"headers": {"request": {"add": {}}}},
        {"originTls": {"verifi": False}},
        {"check": "yes"},
        {"balance": "static-rr"},
        {"maxConnections": "10"},
        {"maxConnections": True},
        {"timeouts": {"connect": True}},
    ],
)
def test_unknown_options_and_wrong_types_are_refused_by_their_shape(
    options: dict[str, Any],
) -> None:
    with pytest.raises(msgspec.ValidationError):
        http(options)


def test_a_profile_is_named_or_left_out() -> None:
    assert http({"profile": "gold"}).profile == "gold"
    assert http({}).profile is None


# -- MongoDB routes ---------------------------------------------------------------------------


def mongo(**fields: Any) -> Any:
    request = msgspec.convert({"agentId": "a1"} | fields, MongoRouteRequest)
    return mongo_route(request, mongo_domain="mongodb.example.com", default_host="192.0.2.1")


def test_a_mongodb_route_defaults_to_the_agents_own_address() -> None:
    assert mongo().target == HostPort("192.0.2.1", 27017)
    assert mongo(targetHost="").target == HostPort("192.0.2.1", 27017)
    assert mongo(options={"check": True}).check


def test_ipv6_targets_may_stand_in_brackets() -> None:
    assert mongo(targetHost="[2001:db8::7]").target == HostPort("2001:db8::7", 27017)


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("agentId", {"agentId": "a.b"}),
        ("targetHost", {"targetHost": "a b"}),
        ("targetHost", {"targetHost": "127.1"}),
        ("targetPort", {"targetPort": 0}),
        ("targetPort", {"targetPort": 65536}),
        ("options.useTls", {"options": {"useTls": False}}),
    ],
)
def test_a_bad_field_of_a_mongodb_route_is_named(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InputError) as refusal:
        mongo(**fields)
    assert refusal.value.field == field


def test_a_mongodb_domain_that_gets_too_long_is_the_agent_ids_fault() -> None:
    request = MongoRouteRequest(agent_id="a" * 63)
    with pytest.raises(InputError) as refusal:
        mongo_route(request, mongo_domain=".".join(["b" * 49] * 4), default_host="192.0.2.1")
    assert refusal.value.field == "agentId"


# -- durations --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2, 2000),
        (0.25, 250),
        (0, 0),
        ("30", 30_000),
        ("30s", 30_000),
        ("250ms", 250),
        ("1.5m", 90_000),
        ("1h", 3_600_000),
        ("1d", 86_400_000),
    ],
)
def test_durations_are_seconds_or_have_a_unit(value: Duration, expected: int) -> None:
    assert duration_ms(value) == expected


@pytest.mark.parametrize(
    "value", ["", "s", "-1s", "1 s", "1s\n", "1us", "1e3", "٣s", -1, 1e-9, 1e99, float("nan")]
)
def test_other_durations_are_refused(value: Duration) -> None:
    with pytest.raises(InputError, match="a duration is"):
        duration_ms(value)


@given(st.text() | st.floats() | st.integers())
def test_a_duration_is_read_or_refused(value: Duration) -> None:
    try:
        assert duration_ms(value) >= 0
    except InputError as refusal:
        assert "duration" in refusal.message  # noqa: PT017 - either outcome is checked
