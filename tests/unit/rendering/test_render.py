"""What each template makes of a configuration, as literal text.

Lines that are the same in every section of a kind are folded, so that a row shows what differs.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from frontserver.errors import TemplateError
from frontserver.model.names import DomainName
from frontserver.model.routes import (
    Balance,
    CookieName,
    HeaderEdits,
    HeaderName,
    HeaderValue,
    HealthCheck,
    OriginTls,
    StatusRange,
    Target,
    Timeouts,
)
from frontserver.model.targets import HostPort, TargetUrl
from frontserver.planning.compile import HTTP_PROFILE, compile_route
from frontserver.planning.compiled import (
    HTTPS_CERTIFICATE,
    SYSTEM_CA,
    Certificate,
    CompiledConfig,
    Frontends,
    Profile,
)
from frontserver.planning.layout import Pool
from frontserver.rendering.render import (
    FRONTENDS,
    GLOBAL,
    PROFILES,
    SECTIONS,
    Renderer,
    map_line,
)
from frontserver.rendering.shards import STRETCH_SLOTS, shard_at, shard_name, shard_of
from frontserver.rendering.templates import Templates
from tests.unit.planning.routes import FRONTENDS as PLAIN
from tests.unit.planning.routes import config, http, mongo
from tests.unit.rendering.samples import NO_SPARE, laid_out, rendered

RENDERER = Renderer(Templates())
SECURE = msgspec.structs.replace(PLAIN, https_binds=(HostPort("127.0.0.1", 443),))


def lines(text: str) -> list[str]:
    """What HAProxy reads: no comments, no empty lines, no indentation."""
    stripped = (line.strip() for line in text.splitlines())
    return [line for line in stripped if line and not line.startswith("#")]


def frontends(frame: Frontends) -> list[str]:
    """The frontends' lines; what every HTTP frontend does to every request is `<common PROTO>`."""
    found = lines(RENDERER.frame(frame, generation="1")[FRONTENDS])
    for proto in ("http", "https"):
        common = [
            "http-request set-var(txn.fs_host) req.hdr(host),field(1,:),rtrim(.),lower",
            "http-request set-var(txn.fs_path) path,bytes(0,192)",
            (
                "http-request set-var(txn.fs_backend)"
                " var(txn.fs_host),concat(,txn.fs_path,/),map_beg(maps/paths.map)"
            ),
            (
                "http-request set-var(txn.fs_backend) var(txn.fs_host),map(maps/hosts.map)"
                " if !{ var(txn.fs_backend) -m found }"
            ),
            "http-request set-var(txn.fs_flags) var(txn.fs_backend),map(maps/flags.map)",
            "http-request del-header ^(x[-_]forwarded[-_].*|x[-_]real[-_]ip|forwarded)$ -m reg",
            "http-request set-header X-Forwarded-For %[src]",
            f"http-request set-header X-Forwarded-Proto {proto}",
            "http-request set-header X-Forwarded-Host %[req.hdr(host)]",
            "http-request set-header X-Forwarded-Port %[dst_port]",
        ]
        for at in range(len(found)):
            if found[at : at + len(common)] == common:
                found[at : at + len(common)] = [f"<common {proto}>"]
    return found


ROUTING = [
    "use_backend %[var(txn.fs_backend)] if { var(txn.fs_backend) -m found }",
    "default_backend fs_none",
]
MAINTENANCE = (
    "http-request return status 503 content-type text/plain hdr Retry-After 60"
    ' string "This site is down for maintenance.\\n"'
    " if { var(txn.fs_flags) -m sub ,maintenance, } { var(txn.fs_backend) -m found }"
)
NONE = [
    "backend fs_none from fs_http",
    (
        "http-request return status 421 content-type text/plain"
        ' string "Ask again on a new connection.\\n" if { stopping }'
    ),
    (
        "http-request return status 404 content-type text/plain"
        ' string "There is no such site here.\\n"'
    ),
]
MONGODB = [
    "frontend fs_in_mongodb from fs_mongodb",
    "bind 127.0.0.1:27017",
    "tcp-request inspect-delay 5s",
    "tcp-request content reject unless { req.ssl_hello_type 1 }",
    "tcp-request content set-var(sess.fs_backend) req.ssl_sni,rtrim(.),lower,map(maps/sni.map)",
    "tcp-request content reject unless { var(sess.fs_backend) -m found }",
    "use_backend %[var(sess.fs_backend)]",
    "default_backend fs_refuse",
    "backend fs_refuse from fs_mongodb",
    "tcp-request content reject",
]
HTTP = [
    "frontend fs_in_http from fs_http",
    "bind 127.0.0.1:80",
    "<common http>",
    MAINTENANCE,
    *ROUTING,
]


def test_global() -> None:
    frame = msgspec.structs.replace(
        PLAIN,
        hard_stop_after="24h",
        connect_ms=1,
        client_ms=2,
        server_ms=3,
        queue_ms=4,
        tunnel_ms=5,
        mongo_tunnel_ms=6,
    )
    assert lines(RENDERER.frame(frame, generation="000042-abc")[GLOBAL]) == [
        "global",
        "default-path config",
        "description frontserver-000042-abc",
        "stats socket /run/runtime.sock mode 600 level admin",
        "stats timeout 1h",
        "mworker-max-reloads 1000000",
        "ssl-default-bind-options ssl-min-ver TLSv1.2",
        "ssl-default-server-options ssl-min-ver TLSv1.2",
        "hard-stop-after 24h",
        "defaults fs_http",
        "mode http",
        "timeout connect 1ms",
        "timeout client 2ms",
        "timeout server 3ms",
        "timeout queue 4ms",
        "timeout tunnel 5ms",
        "timeout http-request 15s",
        "timeout http-keep-alive 60s",
        "option idle-close-on-response",
        "option redispatch",
        "option dontlognull",
        "defaults fs_mongodb",
        "mode tcp",
        "balance roundrobin",
        "retries 0",
        "timeout connect 3s",
        "timeout client 30s",
        "timeout server 30s",
        "timeout tunnel 6ms",
        "option clitcpka",
        "option srvtcpka",
    ]


def test_streams_are_cut_only_by_the_operators_word() -> None:
    assert "hard-stop-after" not in RENDERER.frame(PLAIN, generation="1")[GLOBAL]


def test_frontends_for_http_and_mongodb() -> None:
    assert frontends(PLAIN) == [*HTTP, *NONE, *MONGODB]


def test_frontends_with_https() -> None:
    frame = msgspec.structs.replace(SECURE, mongo_binds=())
    redirect = (
        "http-request redirect code 301 location https://%[var(txn.fs_host)]%[pathq]"
        " if { var(txn.fs_flags) -m sub ,redirect-https, }"
    )
    assert frontends(frame) == [
        *HTTP[:4],
        redirect,
        *ROUTING,
        "frontend fs_in_https from fs_http",
        "bind 127.0.0.1:443 ssl crt certs/https.pem alpn h2,http/1.1",
        "<common https>",
        "http-request unset-var(txn.fs_backend) if { var(txn.fs_flags) -m sub ,plain-only, }",
        MAINTENANCE,
        *ROUTING,
        *NONE,
    ]


def test_redirects_name_the_port_where_it_isnt_the_usual_one() -> None:
    frame = msgspec.structs.replace(PLAIN, https_binds=(HostPort("127.0.0.1", 8443),))
    assert any(
        "location https://%[var(txn.fs_host)]:8443%[pathq]" in line for line in frontends(frame)
    )


def test_the_only_listener_may_be_https_or_mongodb() -> None:
    only_https = frontends(msgspec.structs.replace(SECURE, http_binds=(), mongo_binds=()))
    assert [line for line in only_https if line.startswith("frontend")] == [
        "frontend fs_in_https from fs_http"
    ]
    only_mongo = frontends(msgspec.structs.replace(PLAIN, http_binds=()))
    assert only_mongo == [*NONE, *MONGODB]


def test_several_binds_and_ipv6() -> None:
    frame = msgspec.structs.replace(
        PLAIN, http_binds=(HostPort("127.0.0.1", 80), HostPort("::1", 8080)), mongo_binds=()
    )
    assert frontends(frame)[:4] == [*HTTP[:2], "bind [::1]:8080", "<common http>"]


def test_the_systems_cas_are_loaded_for_servers_to_come() -> None:
    frame = msgspec.structs.replace(PLAIN, system_ca="PEM\n")
    assert frontends(frame)[-2:] == [
        "backend fs_trust from fs_http",
        f"server loads-the-file 127.0.0.1:1 disabled ssl verify required ca-file {SYSTEM_CA}",
    ]


SET_SERVER = "http-request set-timeout server be_name,map_str_int(maps/timeout_server.map,60000)"
SET_TUNNEL = "http-request set-timeout tunnel be_name,map_str_int(maps/timeout_tunnel.map,3600000)"
ALWAYS = [SET_SERVER, SET_TUNNEL]


def edits(**values: str) -> HeaderEdits:
    return HeaderEdits(
        set=tuple(
            (HeaderName(name.replace("_", "-")), HeaderValue(v)) for name, v in values.items()
        )
    )


PROFILE_ROWS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing asked for": ({}, ["balance roundrobin", *ALWAYS]),
    "hashing is consistent": (
        {"balance": Balance.SOURCE},
        ["balance source", "hash-type consistent", *ALWAYS],
    ),
    "by URI": ({"balance": Balance.URI}, ["balance uri", "hash-type consistent", *ALWAYS]),
    "least connections": ({"balance": Balance.LEASTCONN}, ["balance leastconn", *ALWAYS]),
    "sticky": (
        {"sticky": CookieName("SID")},
        [
            *("balance roundrobin", *ALWAYS, "cookie SID insert indirect nocache httponly"),
            (
                "http-after-response replace-header Set-Cookie ^(SID=[^;]*;\\ path=)/(.*)$"
                " \\1%[be_name,concat(/cookie-path),map(maps/values.map,/)]\\2"
            ),
        ],
    ),
    "timeouts that have no map": (
        {"timeouts": Timeouts(connect_ms=70, queue_ms=80)},
        ["balance roundrobin", "timeout connect 70ms", "timeout queue 80ms", *ALWAYS],
    ),
    "timeouts that have one": (
        {"timeouts": Timeouts(server_ms=70, tunnel_ms=80)},
        ["balance roundrobin", *ALWAYS],
    ),
    "a check that connects": ({"check": HealthCheck()}, ["balance roundrobin", *ALWAYS]),
    "a check by HTTP": (
        {"check": HealthCheck(path="/h", expect=StatusRange(200, 204), timeout_ms=90)},
        [
            "balance roundrobin",
            "timeout check 90ms",
            *ALWAYS,
            "option httpchk",
            (
                "http-check send meth GET"
                " uri-lf %[be_name,concat(/check-path),map(maps/values.map,/)] ver HTTP/1.1"
                " hdr Host %[be_name,concat(/check-host),map(maps/values.map,localhost)]"
            ),
            "http-check expect status 200-204",
        ],
    ),
    "headers: removed before set, values from the map": (
        {
            "request_headers": msgspec.structs.replace(
                edits(x_a="1"), remove=(HeaderName("cookie"),)
            ),
            "response_headers": msgspec.structs.replace(
                edits(x_b="2"), remove=(HeaderName("server"),)
            ),
        },
        [
            "balance roundrobin",
            *ALWAYS,
            "http-request del-header cookie",
            "http-request set-header x-a %[be_name,concat(/req/x-a),map(maps/values.map)]",
            "http-response del-header server",
            "http-response set-header x-b %[be_name,concat(/res/x-b),map(maps/values.map)]",
        ],
    ),
    "another Host": (
        {"host_header": DomainName("origin.example.com")},
        [
            "balance roundrobin",
            *ALWAYS,
            "http-request set-header Host %[be_name,concat(/host),map(maps/values.map)]",
        ],
    ),
}


@pytest.mark.parametrize("row", PROFILE_ROWS, ids=str)
def test_profiles(row: str) -> None:
    options, expected = PROFILE_ROWS[row]
    profile = compile_route(http(**options), {}).profile
    text = RENDERER.profiles(PLAIN, [profile])
    assert lines(text) == [f"defaults {profile.id} from fs_http", "mode http", *expected]


def test_profiles_of_mongodb_routes() -> None:
    plain, slow = Profile(mode="tcp"), Profile(mode="tcp", check="connect", check_timeout_ms=50)
    assert lines(RENDERER.profiles(PLAIN, [plain, slow])) == [
        f"defaults {plain.id} from fs_mongodb",
        "mode tcp",
        f"defaults {slow.id} from fs_mongodb",
        "mode tcp",
        "timeout check 50ms",
    ]


def test_the_operators_timeouts_are_the_maps_defaults() -> None:
    frame = msgspec.structs.replace(PLAIN, server_ms=7, tunnel_ms=8)
    text = RENDERER.profiles(frame, [HTTP_PROFILE])
    assert "maps/timeout_server.map,7)" in text
    assert "maps/timeout_tunnel.map,8)" in text


def test_slots_with_and_without_servers() -> None:
    route = compile_route(http("shop", "http://10.0.0.1:80", "http://[2001:db8::1]:81"), {})
    pool = Pool(HTTP_PROFILE, 3)
    one, two = route.servers
    name = HTTP_PROFILE.id

    text = RENDERER.stretch((pool, 0), {f"{name}.1": route})

    assert text == (
        f"backend {name}.0 from {name}\n"
        f"backend {name}.1 from {name}\n"
        f"    server {one.name} {'[2001:db8::1]:81' if ':' in one.address else '10.0.0.1:80'}"
        " weight 100\n"
        f"    server {two.name} {'[2001:db8::1]:81' if ':' in two.address else '10.0.0.1:80'}"
        " weight 100\n"
        f"backend {name}.2 from {name}\n"
    )


def test_each_slot_is_rendered_in_its_stretch() -> None:
    pool = Pool(HTTP_PROFILE, STRETCH_SLOTS * 2 + 1)
    texts = [RENDERER.stretch((pool, number), {}) for number in range(3)]
    assert [text.count("backend ") for text in texts] == [STRETCH_SLOTS, STRETCH_SLOTS, 1]
    for slot in (0, STRETCH_SLOTS - 1, STRETCH_SLOTS, STRETCH_SLOTS * 2):
        assert f"backend {HTTP_PROFILE.id}.{slot} from" in texts[slot // STRETCH_SLOTS]


def test_maps_hold_routing_flags_and_values() -> None:
    route = http(
        "shop",
        use_tls=False,
        timeouts=Timeouts(server_ms=70, tunnel_ms=80),
        check=HealthCheck(path="/h"),
        request_headers=edits(x_a="a b; #c"),
        host_header=DomainName("origin.example.com"),
    )
    files = rendered(config(route, mongo()))
    slot = laid_out(config(route, mongo())).slots[route.key]
    tcp = laid_out(config(route, mongo())).slots[mongo().key]

    assert {name: text for name, text in files.items() if name.startswith("maps/")} == {
        "maps/hosts.map": f"shop.apps.example.com {slot}\n",
        "maps/sni.map": f"a1.mongodb.example.com {tcp}\n",
        "maps/paths.map": "",
        "maps/flags.map": f"{slot} ,plain-only,\n",
        "maps/values.map": (
            f"{slot}/check-host origin.example.com\n"
            f"{slot}/check-path /h\n"
            f"{slot}/host origin.example.com\n"
            f"{slot}/req/x-a a b; #c\n"
        ),
        "maps/timeout_server.map": f"{slot} 70\n",
        "maps/timeout_tunnel.map": f"{slot} 80\n",
    }


def test_all_files_of_a_configuration() -> None:
    certificate = Certificate(HTTPS_CERTIFICATE, "CHAIN AND KEY\n")
    frame = msgspec.structs.replace(SECURE, system_ca="CAS\n")
    own = http("own", "https://origin.example.com", origin_tls=OriginTls(ca_pem="OWN CA\n"))
    route = compile_route(own, {"origin.example.com": "10.0.0.7"})
    whole = CompiledConfig(frame, certificates=(certificate,)).with_routes({own.key: route})

    files = rendered(whole)

    shard = shard_name(shard_at(route.profile.id, 0))
    assert {name for name in files if not name.startswith("maps/")} == {
        *(GLOBAL, SECTIONS, FRONTENDS, PROFILES, shard),
        *(HTTPS_CERTIFICATE, SYSTEM_CA, route.ca_files[0].name),
    }
    assert files[HTTPS_CERTIFICATE] == "CHAIN AND KEY\n"
    assert files[SYSTEM_CA] == "CAS\n"
    assert files[route.ca_files[0].name] == "OWN CA\n"
    # A file is read after those that it refers to.
    assert sorted(name for name in files if name.endswith(".cfg")) == [
        *(GLOBAL, SECTIONS, FRONTENDS, PROFILES, shard)
    ]
    assert f"ca-file {route.ca_files[0].name}" in files[shard]


def test_a_slot_whose_route_is_unknown_is_rendered_empty() -> None:
    whole = config(http())
    layout = laid_out(whole)
    files = RENDERER.everything(config(), layout, generation="1")
    assert "server " not in files[shard_name(shard_of(layout.slots[http().key]))]
    assert files["maps/hosts.map"] == ""


def test_rendering_is_deterministic() -> None:
    routes = [http(name) for name in "dacb"]
    one = rendered(config(*routes), NO_SPARE)
    two = rendered(config(*reversed(routes)), NO_SPARE)
    assert one == two


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[(key, "v") for key in ("", " ", "#k", "a b", "a\n", "a\tb", "a\0", "a\x7f", "\u2028")],
        *[("k", value) for value in ("", " ", "a\nb", "a\n", " a", "a ", "a\0b", "é", "a\rb")],
    ],
)
def test_what_isnt_one_line_of_a_map_is_refused(key: str, value: str) -> None:
    with pytest.raises(TemplateError, match="isn't a map entry"):
        map_line(key, value)


@pytest.mark.parametrize("value", ["v", "a b", "#v", '"', "\\", "%[src]", ";", "a  b", "'"])
def test_a_maps_value_may_be_any_printable_text(value: str) -> None:
    assert map_line("a/b#c", value) == f"a/b#c {value}\n"


def test_targets_of_one_url_and_many_options_stay_one_line_each() -> None:
    targets = tuple(
        Target(TargetUrl.parse(f"https://10.0.0.{n}:80"), weight=n, backup=n > 1) for n in (1, 2, 3)
    )
    wanted = http(
        sticky=CookieName("C"),
        check=HealthCheck(path="/h", interval_ms=100, rise=4, fall=5),
        max_connections=6,
        origin_tls=OriginTls(server_name=DomainName("origin.example.com")),
    )
    route = compile_route(msgspec.structs.replace(wanted, targets=targets), {})
    text = RENDERER.stretch((Pool(route.profile, 1), 0), {route.profile.id + ".0": route})
    first = next(server for server in route.servers if server.weight == 1)
    assert len(lines(text)) == 4
    assert (
        f"server {first.name} 10.0.0.1:80 weight 1 maxconn 6 cookie {first.cookie}"
        " check inter 100ms rise 4 fall 5"
        " ssl verify required ca-file certs/system-ca.pem sni str(origin.example.com)"
        " check-ssl check-sni origin.example.com"
    ) in lines(text)
