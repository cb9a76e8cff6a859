"""Routes and their options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontserver.errors import InputError
from frontserver.model.names import AgentId, DomainName, Subdomain
from frontserver.model.routes import (
    CookieName,
    HeaderName,
    HeaderValue,
    HealthCheck,
    HostHeader,
    HttpRoute,
    MongoRoute,
    OriginTls,
    ProfileName,
    RouteKey,
    RouteKind,
    StatusRange,
    Target,
    Timeouts,
)
from frontserver.model.status import PENDING, Health, RouteState
from frontserver.model.targets import HostPort, TargetUrl

NAME = DomainName("origin.example.com")


def target(url: str = "http://203.0.113.7:3000", **changes: Any) -> Target:
    return Target(TargetUrl.parse(url), **changes)


def route(*targets: Target, **changes: Any) -> HttpRoute:
    return HttpRoute(
        agent_id=AgentId("a1"),
        subdomain=Subdomain("shop"),
        domain=DomainName("shop.apps.example.com"),
        targets=targets,
        **changes,
    )


def field_of(build: Callable[..., object], *args: Any, **kwargs: Any) -> str:
    """The field that a refusal names."""
    with pytest.raises(InputError) as refusal:
        build(*args, **kwargs)
    return refusal.value.field


# -- identity ---------------------------------------------------------------------------------


def test_a_route_is_known_by_its_kind_and_name() -> None:
    mongo = MongoRoute(
        agent_id=AgentId("a1"),
        domain=DomainName("a1.mongodb.example.com"),
        target=HostPort("203.0.113.7", 27017),
    )
    assert route(target()).key == RouteKey(RouteKind.HTTP, "shop")
    assert mongo.key == RouteKey(RouteKind.MONGODB, "a1")
    assert str(mongo.key) == "mongodb:a1"
    assert min(mongo.key, route(target()).key).kind == RouteKind.HTTP


def test_a_new_route_is_pending_and_its_health_unknown() -> None:
    assert PENDING.state is RouteState.PENDING
    assert PENDING.health is Health.UNKNOWN


def test_routes_are_values() -> None:
    assert route(target()) == route(target())
    assert hash(route(target())) == hash(route(target()))


# -- targets ----------------------------------------------------------------------------------


def test_a_route_has_1_to_64_targets() -> None:
    many = [target(f"http://203.0.113.7:{port}") for port in range(3000, 3065)]
    assert len(route(*many[:64]).targets) == 64
    assert field_of(route) == "targetUrl"
    assert field_of(route, *many) == "options.targets"


def test_a_target_is_named_once() -> None:
    assert field_of(route, target(), target(weight=5)) == "options.targets"


def test_one_target_at_least_is_no_backup() -> None:
    backup = target("http://203.0.113.8", backup=True)
    assert route(target(), backup)
    assert field_of(route, backup) == "options.targets"


@pytest.mark.parametrize(("weight", "good"), [(0, False), (1, True), (256, True), (257, False)])
def test_weights_are_1_to_256(weight: int, good: bool) -> None:
    if good:
        assert target(weight=weight).weight == weight
    else:
        assert field_of(target, weight=weight) == "weight"


@pytest.mark.parametrize("most", [0, -1, 1_000_001])
def test_max_connections_has_bounds(most: int) -> None:
    assert field_of(route, target(), max_connections=most) == "options.maxConnections"
    assert route(target(), max_connections=1).max_connections == 1


def test_the_targets_name_as_host_needs_one_name() -> None:
    one, other = target("http://a.example.com"), target("http://b.example.com")
    same = target("http://a.example.com:81")
    assert route(one, same, host_header=HostHeader.TARGET)
    assert route(one, other, host_header=NAME)
    assert field_of(route, one, other, host_header=HostHeader.TARGET) == "options.hostHeader"


def test_an_https_address_needs_a_name_to_verify() -> None:
    address = target("https://203.0.113.7")
    assert field_of(route, address) == "options.originTls"
    assert route(address, origin_tls=OriginTls(verify=False))
    assert route(address, origin_tls=OriginTls(server_name=NAME))
    assert route(target("https://host.example.com"), target("http://203.0.113.7"))


# -- checks and times -------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/health", "/a/b?x=1&y=%20", "/" + "x" * 1023])
def test_check_paths_are_url_paths(path: str) -> None:
    assert HealthCheck(path=path).path == path


@pytest.mark.parametrize(
    "path", ["", "health", "/a b", "/a\n", "/a\r\nX: y", '/"', "/\\", "/é", "/\0", "/" + "x" * 1024]
)
def test_other_check_paths_are_refused(path: str) -> None:
    assert field_of(HealthCheck, path=path) == "path"


def test_what_an_http_check_expects_needs_a_path() -> None:
    assert field_of(HealthCheck, host=NAME) == "path"
    assert field_of(HealthCheck, expect=StatusRange(200, 200)) == "path"
    assert HealthCheck(path="/", host=NAME, expect=StatusRange(200, 200))
    assert HealthCheck().path is None


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("interval", {"interval_ms": 99}),
        ("interval", {"interval_ms": 3_600_001}),
        ("timeout", {"timeout_ms": 9}),
        ("timeout", {"timeout_ms": 3_600_001}),
        ("rise", {"rise": 0}),
        ("rise", {"rise": 101}),
        ("fall", {"fall": 0}),
        ("fall", {"fall": 101}),
    ],
)
def test_numbers_of_a_check_have_bounds(field: str, changes: dict[str, int]) -> None:
    assert field_of(HealthCheck, **changes) == field


def test_the_bounds_of_a_check_are_good() -> None:
    assert HealthCheck(interval_ms=100, timeout_ms=10, rise=1, fall=1)
    assert HealthCheck(interval_ms=3_600_000, timeout_ms=3_600_000, rise=100, fall=100)


@pytest.mark.parametrize(("low", "high"), [(99, 200), (200, 600), (300, 200)])
def test_status_ranges_lie_between_100_and_599(low: int, high: int) -> None:
    with pytest.raises(InputError):
        StatusRange(low, high)


def test_a_status_range_is_written_short() -> None:
    assert str(StatusRange(204, 204)) == "204"
    assert str(StatusRange(100, 599)) == "100-599"


@pytest.mark.parametrize("field", ["connect", "server", "queue", "tunnel"])
@pytest.mark.parametrize("value", [0, 9, 604_800_001])
def test_timeouts_lie_between_10_ms_and_a_week(field: str, value: int) -> None:
    assert field_of(Timeouts, **{f"{field}_ms": value}) == field
    assert Timeouts(**{f"{field}_ms": 604_800_000})


# -- texts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\n", "é", "x" * 129, "a%b", "a.b", "x\u212a"])
def test_header_names_are_plain_tokens(name: str) -> None:
    with pytest.raises(InputError, match="not a header name"):
        HeaderName(name)


@pytest.mark.parametrize(
    "name", ["Host", "X-Forwarded-For", "forwarded", "Connection", "TE", "content-length"]
)
def test_forwarding_and_hop_by_hop_headers_are_ours(name: str) -> None:
    with pytest.raises(InputError, match="set by the front server"):
        HeaderName(name)


def test_header_names_are_compared_without_case() -> None:
    assert HeaderName("X-Frame-Options") == "x-frame-options"


@pytest.mark.parametrize("value", ["x", "a b", "max-age=1; x", "~", "x" * 4096, '"%[a]"'])
def test_header_values_are_printable(value: str) -> None:
    assert HeaderValue(value) == value


@pytest.mark.parametrize("value", ["", " a", "a ", "a\nb", "a\r", "a\tb", "\0", "é", "x" * 4097])
def test_other_header_values_are_refused(value: str) -> None:
    with pytest.raises(InputError):
        HeaderValue(value)


def test_cookie_names_are_plain() -> None:
    assert CookieName("FS_ID-1") == "FS_ID-1"
    for name in ("", "a b", "a;b", "a=b", "a\n", "x" * 65, "é"):
        with pytest.raises(InputError):
            CookieName(name)


@given(st.text())
def test_no_accepted_text_holds_a_line_end_or_control_character(text: str) -> None:
    for build in (HeaderName, HeaderValue, CookieName, lambda path: HealthCheck(path=path).path):
        try:
            accepted = build(text)
        except InputError:
            continue
        assert str(accepted).isascii()
        assert str(accepted).isprintable()


@pytest.mark.parametrize("name", ["gold", "a", "tier-2", "0", "a" * 32])
def test_names_of_profiles(name: str) -> None:
    assert ProfileName(name) == name


@pytest.mark.parametrize(
    "name", ["", "Gold", "a_b", "-a", "a-", "a" * 33, "a.b", "../a", "a/b", "a b", "a\n", "é"]
)
def test_what_names_no_profile(name: str) -> None:
    """It becomes part of a file's name."""
    with pytest.raises(InputError, match="not the name of a profile"):
        ProfileName(name)
