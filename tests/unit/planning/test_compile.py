"""Each option of an HTTP route: what it becomes, and whether it needs a profile of its own."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from frontserver.errors import InputError
from frontserver.model.names import DomainName, PathPrefix
from frontserver.model.routes import (
    Balance,
    CookieName,
    HeaderEdits,
    HeaderName,
    HeaderValue,
    HealthCheck,
    HostHeader,
    OriginTls,
    ProfileName,
    RouteKey,
    RouteKind,
    StatusRange,
    Target,
    Timeouts,
)
from frontserver.model.targets import HostPort, TargetUrl
from frontserver.planning.compile import (
    HTTP_PROFILE,
    MONGO_PROFILE,
    STANDARD_PROFILES,
    compile_route,
    named_hosts,
    unresolved_hosts,
)
from frontserver.planning.compiled import (
    FLAGS,
    SYSTEM_CA,
    TIMEOUT_SERVER,
    TIMEOUT_TUNNEL,
    VALUES,
    CheckTiming,
    CompiledRoute,
    Extension,
    Profile,
    Server,
    ServerTls,
    SlotValue,
    digest,
)
from frontserver.planning.serverline import address, arguments
from tests.unit.planning.routes import http, mongo

SHOP = "shop.apps.example.com"
NAMED = {"origin.example.com": "10.0.0.7"}


def compiled(**options: Any) -> CompiledRoute:
    return compile_route(http(**options), NAMED)


def to(*urls: str, **options: Any) -> CompiledRoute:
    return compile_route(http("shop", *urls, **options), NAMED)


def edits(*remove: str, **values: str) -> HeaderEdits:
    return HeaderEdits(
        set=tuple((HeaderName(name), HeaderValue(value)) for name, value in values.items()),
        remove=tuple(HeaderName(name) for name in remove),
    )


def test_a_plain_route() -> None:
    assert compiled() == CompiledRoute(
        key=http().key,
        profile=HTTP_PROFILE,
        servers=(Server("10.0.0.1", 3000),),
        routing=(("maps/hosts.map", SHOP),),
    )


# Option → what of the compiled route differs from a plain one's.
ROWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "useTls: false": (
        {"use_tls": False},
        {"values": (SlotValue(FLAGS, "", ",plain-only,"),)},
    ),
    "redirectHttps": (
        {"redirect_https": True},
        {"values": (SlotValue(FLAGS, "", ",redirect-https,"),)},
    ),
    "maintenance": (
        {"maintenance": True},
        {"values": (SlotValue(FLAGS, "", ",maintenance,"),)},
    ),
    "all flags": (
        {"use_tls": False, "redirect_https": True, "maintenance": True},
        {"values": (SlotValue(FLAGS, "", ",redirect-https,,plain-only,,maintenance,"),)},
    ),
    "path": (
        {"path": PathPrefix("/api")},
        {
            "key": RouteKey(RouteKind.HTTP, "shop/api"),
            "routing": (("maps/paths.map", SHOP + "/api/"),),
        },
    ),
    "check: true": (
        {"check": HealthCheck()},
        {
            "profile": Profile(mode="http", check="connect"),
            "servers": (Server("10.0.0.1", 3000, check=CheckTiming(2000, 2, 3)),),
        },
    ),
    "check by HTTP": (
        {"check": HealthCheck(path="/h", interval_ms=1000, rise=4, fall=5)},
        {
            "profile": Profile(mode="http", check="http", check_expect="200-399"),
            "servers": (Server("10.0.0.1", 3000, check=CheckTiming(1000, 4, 5)),),
            "values": (
                SlotValue(VALUES, "/check-host", SHOP),
                SlotValue(VALUES, "/check-path", "/h"),
            ),
        },
    ),
    "check with all of its options": (
        {
            "check": HealthCheck(
                path="/h", host=DomainName("h.example"), expect=StatusRange(204, 204), timeout_ms=50
            )
        },
        {
            "profile": Profile(mode="http", check="http", check_expect="204", check_timeout_ms=50),
            "servers": (Server("10.0.0.1", 3000, check=CheckTiming(2000, 2, 3)),),
            "values": (
                SlotValue(VALUES, "/check-host", "h.example"),
                SlotValue(VALUES, "/check-path", "/h"),
            ),
        },
    ),
    "sticky": (
        {"sticky": CookieName("SID")},
        {
            "profile": Profile(mode="http", cookie="SID"),
            "servers": (Server("10.0.0.1", 3000, cookie=digest("http://10.0.0.1:3000")),),
        },
    ),
    "sticky below a path": (
        {"sticky": CookieName("SID"), "path": PathPrefix("/api")},
        {
            "key": RouteKey(RouteKind.HTTP, "shop/api"),
            "profile": Profile(mode="http", cookie="SID"),
            "servers": (Server("10.0.0.1", 3000, cookie=digest("http://10.0.0.1:3000")),),
            "routing": (("maps/paths.map", SHOP + "/api/"),),
            "values": (SlotValue(VALUES, "/cookie-path", "/api"),),
        },
    ),
    "timeouts that maps can carry": (
        {"timeouts": Timeouts(server_ms=10, tunnel_ms=20)},
        {"values": (SlotValue(TIMEOUT_SERVER, "", "10"), SlotValue(TIMEOUT_TUNNEL, "", "20"))},
    ),
    "timeouts that they can't": (
        {"timeouts": Timeouts(connect_ms=10, queue_ms=20)},
        {"profile": Profile(mode="http", connect_ms=10, queue_ms=20)},
    ),
    "headers": (
        {"request_headers": edits("a", b="1"), "response_headers": edits("c", d="2")},
        {
            "profile": Profile(
                mode="http",
                remove_request=("a",),
                set_request=("b",),
                remove_response=("c",),
                set_response=("d",),
            ),
            "values": (SlotValue(VALUES, "/req/b", "1"), SlotValue(VALUES, "/res/d", "2")),
        },
    ),
    "maxConnections": (
        {"max_connections": 7},
        {"servers": (Server("10.0.0.1", 3000, maxconn=7),)},
    ),
    "hostHeader: a name": (
        {"host_header": DomainName("o.example")},
        {
            "profile": Profile(mode="http", rewrite_host=True),
            "values": (SlotValue(VALUES, "/host", "o.example"),),
        },
    ),
    "hostHeader: target": (
        {"host_header": HostHeader.TARGET},
        {
            "profile": Profile(mode="http", rewrite_host=True),
            "values": (SlotValue(VALUES, "/host", "10.0.0.1"),),
        },
    ),
}


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_options(row: str) -> None:
    options, expected = ROWS[row]
    assert compiled(**options) == msgspec.structs.replace(compiled(), **expected)


@pytest.mark.parametrize("balance", Balance)
def test_balance_is_structure(balance: Balance) -> None:
    expected = Profile(mode="http", balance=balance.value)
    assert compiled(balance=balance).profile == expected


def test_an_ipv6_target_is_a_host_in_brackets() -> None:
    """RFC 9110 section 7.2: Host is a uri-host."""
    route = to("http://[2001:db8::1]:3000", host_header=HostHeader.TARGET)
    assert route.values == (SlotValue(VALUES, "/host", "[2001:db8::1]"),)


def test_a_checks_host_is_the_one_that_requests_are_sent_with() -> None:
    route = compiled(check=HealthCheck(path="/"), host_header=DomainName("o.example"))
    assert SlotValue(VALUES, "/check-host", "o.example") in route.values


# Routes that differ in values only: maps and servers carry these, so that no reload is needed.
SHARED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "flags": ({"use_tls": False}, {"redirect_https": True}),
    "server and tunnel timeouts": ({"timeouts": Timeouts(server_ms=1000)}, {}),
    "header values": ({"request_headers": edits(a="1")}, {"request_headers": edits(a="2")}),
    "answer header values": (
        {"response_headers": edits(a="1")},
        {"response_headers": edits(a="2")},
    ),
    "check paths": ({"check": HealthCheck(path="/a")}, {"check": HealthCheck(path="/b")}),
    "check hosts": (
        {"check": HealthCheck(path="/a")},
        {"check": HealthCheck(path="/a", host=DomainName("h.example"))},
    ),
    "check intervals": (
        {"check": HealthCheck(interval_ms=1000, rise=1)},
        {"check": HealthCheck(interval_ms=9000, fall=1)},
    ),
    "limits": ({"max_connections": 1}, {"max_connections": 2}),
    "hosts": ({"host_header": HostHeader.TARGET}, {"host_header": DomainName("o.example")}),
    "TLS to the origin": ({"origin_tls": OriginTls(verify=False)}, {}),
}
APART: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "balance": ({"balance": Balance.URI}, {}),
    "stickiness": ({"sticky": CookieName("A")}, {"sticky": CookieName("B")}),
    "connect timeout": ({"timeouts": Timeouts(connect_ms=1000)}, {}),
    "queue timeout": ({"timeouts": Timeouts(queue_ms=1000)}, {}),
    "kind of check": ({"check": HealthCheck()}, {"check": HealthCheck(path="/")}),
    "expected status": (
        {"check": HealthCheck(path="/")},
        {"check": HealthCheck(path="/", expect=StatusRange(200, 200))},
    ),
    "check timeout": ({"check": HealthCheck(timeout_ms=50)}, {"check": HealthCheck()}),
    "names of headers set": ({"request_headers": edits(a="1")}, {"request_headers": edits(b="1")}),
    "names of headers removed": ({"response_headers": edits("a")}, {}),
    "direction": ({"response_headers": edits(a="1")}, {"request_headers": edits(a="1")}),
    "whether Host is rewritten": ({"host_header": HostHeader.TARGET}, {}),
}


@pytest.mark.parametrize("row", SHARED, ids=str)
def test_routes_that_differ_in_values_share_a_profile(row: str) -> None:
    one, two = SHARED[row]
    first, second = compiled(**one), to("https://origin.example.com", **two)
    assert first.profile.id == second.profile.id
    assert first != second


@pytest.mark.parametrize("row", APART, ids=str)
def test_routes_that_differ_in_structure_dont(row: str) -> None:
    one, two = APART[row]
    assert compiled(**one).profile.id != compiled(**two).profile.id


def test_the_operators_standard_profiles_are_those_of_ordinary_routes() -> None:
    ordinary = [
        compiled(),
        compiled(check=HealthCheck()),
        compiled(check=HealthCheck(path="/healthz")),
        compile_route(mongo(), {}),
        compile_route(mongo(check=True), {}),
    ]
    assert tuple(route.profile for route in ordinary) == STANDARD_PROFILES
    assert len({profile.id for profile in STANDARD_PROFILES}) == len(STANDARD_PROFILES)


# --- targets ---


def test_targets_are_servers_in_an_order_of_their_own() -> None:
    urls = ("http://10.0.0.1:80", "http://10.0.0.2:80", "http://10.0.0.3:80")
    assert to(*urls) == to(*reversed(urls))
    assert {server.address for server in to(*urls).servers} == {
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.3",
    }


def test_two_targets_that_are_one_server_become_one() -> None:
    """A name and its address, say."""
    assert len(to("http://origin.example.com:80", "http://10.0.0.7:80").servers) == 1


def test_weights_and_backups() -> None:
    targets = (
        Target(TargetUrl.parse("http://10.0.0.1:80"), weight=7),
        Target(TargetUrl.parse("http://10.0.0.2:80"), backup=True),
    )
    route = compile_route(msgspec.structs.replace(http(), targets=targets), {})
    assert set(route.servers) == {
        Server("10.0.0.1", 80, weight=7),
        Server("10.0.0.2", 80, backup=True),
    }


def of_weight(weight: int, **options: Any) -> Server:
    """The one server of a sticky route."""
    targets = (Target(TargetUrl.parse("http://10.0.0.1:80"), weight=weight, **options),)
    sticky = http(sticky=CookieName("C"))
    return compile_route(msgspec.structs.replace(sticky, targets=targets), {}).servers[0]


def test_a_server_stays_itself_when_its_weight_changes() -> None:
    assert of_weight(1).cookie == of_weight(2).cookie
    assert of_weight(1).name == of_weight(2).name
    assert of_weight(1) != of_weight(2)


def test_a_target_that_drains_is_the_same_server_with_no_weight() -> None:
    draining = of_weight(7, drain=True)
    assert draining == msgspec.structs.replace(of_weight(7), weight=0)
    assert draining.name == of_weight(7).name


def test_of_two_targets_that_are_one_server_the_heavier_counts() -> None:
    """So that one that drains doesn't take its twin along."""
    targets = (
        Target(TargetUrl.parse("http://10.0.0.7:80"), weight=7),
        Target(TargetUrl.parse("http://origin.example.com:80"), drain=True),
    )
    for order in (targets, targets[::-1]):
        route = compile_route(msgspec.structs.replace(http(), targets=order), NAMED)
        assert [server.weight for server in route.servers] == [7]


def test_names_are_resolved_by_us() -> None:
    route = http("shop", "http://origin.example.com", "http://other.example.com", "http://10.0.0.1")
    assert named_hosts(route) == {"origin.example.com", "other.example.com"}
    assert unresolved_hosts(route, NAMED) == ("other.example.com",)
    with pytest.raises(KeyError, match=r"other\.example\.com"):
        compile_route(route, NAMED)
    assert named_hosts(mongo(host="db.example.com")) == {"db.example.com"}
    assert unresolved_hosts(mongo(), {}) == ()


def test_a_name_that_moves_is_another_server_of_the_same_route() -> None:
    route = http("shop", "http://origin.example.com")
    one = compile_route(route, {"origin.example.com": "10.0.0.7"})
    two = compile_route(route, {"origin.example.com": "10.0.0.8"})
    assert one.servers != two.servers
    assert msgspec.structs.replace(two, servers=one.servers) == one


# --- TLS to the origin ---


def tls(url: str = "https://origin.example.com", **options: Any) -> ServerTls | None:
    return to(url, origin_tls=OriginTls(**options)).servers[0].tls


def test_tls_follows_the_scheme() -> None:
    assert tls("http://origin.example.com") is None
    assert tls() == ServerTls(ca_file=SYSTEM_CA, sni="origin.example.com")


def test_tls_options() -> None:
    name = DomainName("cert.example.com")
    assert tls(verify=False) == ServerTls(ca_file=None, sni="origin.example.com")
    assert tls("https://10.0.0.1", verify=False) == ServerTls(ca_file=None, sni=None)
    assert tls(server_name=name) == ServerTls(ca_file=SYSTEM_CA, sni="cert.example.com")
    assert tls("https://10.0.0.1", server_name=name) == ServerTls(SYSTEM_CA, "cert.example.com")


def test_a_ca_of_ones_own_is_a_file_named_by_its_content() -> None:
    one = to("https://origin.example.com", origin_tls=OriginTls(ca_pem="ONE\n"))
    two = to("https://origin.example.com", origin_tls=OriginTls(ca_pem="TWO\n"))
    (file,) = one.ca_files
    assert file.pem == "ONE\n"
    assert re.fullmatch(r"certs/ca-[0-9a-f]{32}\.pem", file.name), "no agent makes another such"
    assert one.servers[0].tls == ServerTls(ca_file=file.name, sni="origin.example.com")
    assert file.name != two.ca_files[0].name


def test_a_ca_that_isnt_used_isnt_written() -> None:
    unverified = OriginTls(verify=False, ca_pem="CA\n")
    assert to("https://origin.example.com", origin_tls=unverified).ca_files == ()


# --- MongoDB ---


def test_a_mongodb_route() -> None:
    assert compile_route(mongo(), {}) == CompiledRoute(
        key=mongo().key,
        profile=MONGO_PROFILE,
        servers=(Server("10.0.0.1", 27017),),
        routing=(("maps/sni.map", "a1.mongodb.example.com"),),
    )
    checked = compile_route(mongo(check=True), {})
    assert checked.profile == Profile(mode="tcp", check="connect")
    assert checked.servers[0].check == CheckTiming(5000, 2, 3)


# --- the words of a server ---

LINES: dict[str, tuple[Server, str]] = {
    "the least": (Server("10.0.0.1", 80), "10.0.0.1:80 weight 100"),
    "IPv6": (Server("2001:db8::1", 80), "[2001:db8::1]:80 weight 100"),
    "all that is plain": (
        Server("10.0.0.1", 80, weight=1, backup=True, maxconn=5, cookie="c"),
        "10.0.0.1:80 weight 1 backup maxconn 5 cookie c",
    ),
    "a check": (
        Server("10.0.0.1", 80, check=CheckTiming(1500, 2, 3)),
        "10.0.0.1:80 weight 100 check inter 1500ms rise 2 fall 3",
    ),
    "TLS, not verified": (
        Server("10.0.0.1", 80, tls=ServerTls(None, None)),
        "10.0.0.1:80 weight 100 ssl verify none",
    ),
    "TLS, verified": (
        Server("10.0.0.1", 80, tls=ServerTls("certs/x.pem", "a.b")),
        "10.0.0.1:80 weight 100 ssl verify required ca-file certs/x.pem sni str(a.b)",
    ),
    "checked over TLS": (
        Server("10.0.0.1", 80, check=CheckTiming(1, 2, 3), tls=ServerTls(None, "a.b")),
        (
            "10.0.0.1:80 weight 100 check inter 1ms rise 2 fall 3"
            " ssl verify none sni str(a.b) check-ssl check-sni a.b"
        ),
    ),
    "checked over TLS without a name": (
        Server("10.0.0.1", 80, check=CheckTiming(1, 2, 3), tls=ServerTls(None, None)),
        "10.0.0.1:80 weight 100 check inter 1ms rise 2 fall 3 ssl verify none check-ssl",
    ),
}


@pytest.mark.parametrize("row", LINES, ids=str)
def test_server_lines(row: str) -> None:
    server, expected = LINES[row]
    assert arguments(server) == expected
    assert expected.startswith(address(server))


def test_a_servers_name_says_all_that_is_in_it() -> None:
    servers = [server for server, _ in LINES.values()]
    assert len({server.name for server in servers}) == len(servers)
    assert Server("10.0.0.1", 80).name == Server("10.0.0.1", 80).name


def test_digests_are_of_content() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest(HostPort("10.0.0.1", 80)) != digest(HostPort("10.0.0.1", 81))
    assert len(digest("x", 16)) == 16


GOLD = Extension("gold", "v1")


def test_a_profile_of_the_operators_extends_the_routes_own() -> None:
    route = http("shop", profile=ProfileName("gold"))

    extended = compile_route(route, {}, (Extension("internal", "v1"), GOLD))

    assert extended.profile == Profile(mode="http", extension=GOLD)
    other = compile_route(route, {}, (Extension("gold", "v2"),))
    assert len({HTTP_PROFILE.id, extended.profile.id, other.profile.id}) == 3


def test_a_route_whose_profile_has_gone_is_refused() -> None:
    with pytest.raises(InputError, match="no profile 'gold' any more") as refused:
        compile_route(http("shop", profile=ProfileName("gold")), {}, ())
    assert refused.value.field == "options.profile"


def test_without_a_list_any_profile_is_taken_to_exist() -> None:
    """For those who want to know of servers alone."""
    route = http("shop", profile=ProfileName("gold"))

    assert compile_route(route, {}).servers == compile_route(http(), {}).servers
