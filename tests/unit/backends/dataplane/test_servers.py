"""One server, three ways: a line of the configuration, a runtime call, what is found again."""

from __future__ import annotations

import msgspec
import pytest

from frontserver.backends.dataplane.servers import as_found, body, lines, takeover
from frontserver.planning.compiled import (
    SYSTEM_CA,
    CheckTiming,
    CompiledRoute,
    Profile,
    Server,
    ServerTls,
)
from frontserver.planning.limits import HTTP_CHECK, MONGO_CHECK
from frontserver.planning.running import UnknownServer
from frontserver.rendering.dialect import ServerLine
from tests.unit.planning.routes import http

PLAIN = Profile(mode="http")
CHECKED = Profile(mode="http", check="http")
STICKY = Profile(mode="http", check="http", cookie="SID")
ORDINARY = Server("10.0.0.1", 80, check=HTTP_CHECK)


def place(name: str) -> str:
    return f"/general/{name.rpartition('/')[2]}"


def route(profile: Profile, *servers: Server) -> CompiledRoute:
    return CompiledRoute(http().key, profile, servers, ())


def written(profile: Profile, *servers: Server) -> list[ServerLine]:
    return lines(profile, route(profile, *servers), place)


def test_an_unchecked_server_is_cut_by_maintenance() -> None:
    server = Server("10.0.0.1", 80)
    assert written(PLAIN, server) == [
        ServerLine(server.name, "10.0.0.1:80 weight 100 on-marked-down shutdown-sessions")
    ]


def test_a_checked_server_is_not_since_a_failed_check_would_cut_it() -> None:
    server = msgspec.structs.replace(ORDINARY, cookie="c")
    (line,) = written(STICKY, server)
    assert "on-marked-down" not in line.arguments
    assert " check " in line.arguments


def test_an_empty_slot_of_a_checked_profile_has_a_server_that_waits() -> None:
    check = f"check inter {HTTP_CHECK.interval_ms}ms rise {HTTP_CHECK.rise} fall {HTTP_CHECK.fall}"
    assert lines(CHECKED, None, place) == [
        ServerLine("prepared", f"127.0.0.1:1 weight 100 {check} disabled")
    ]


@pytest.mark.parametrize("profile", [PLAIN, STICKY])
def test_other_empty_slots_have_none(profile: Profile) -> None:
    assert lines(profile, None, place) == []


def test_an_ordinary_checked_server_is_the_prepared_one() -> None:
    (line,) = written(CHECKED, msgspec.structs.replace(ORDINARY, weight=7))
    assert line.name == "prepared"
    assert line.arguments.startswith("10.0.0.1:80 weight 7 check ")
    assert "disabled" not in line.arguments


def test_others_stand_beside_the_one_that_waits() -> None:
    own_times = msgspec.structs.replace(ORDINARY, check=CheckTiming(700, 1, 1))
    first, waiting = written(CHECKED, own_times)
    assert first.name == own_times.name
    assert waiting.name == "prepared"
    assert waiting.arguments.endswith(" disabled")


def test_a_server_of_which_little_is_known_is_not_written() -> None:
    assert written(PLAIN, UnknownServer("10.0.0.1", 80, found_name="stray")) == []


def test_ca_files_have_the_names_by_which_haproxy_reads_them() -> None:
    tls = ServerTls(ca_file="certs/ca-1.pem", sni="origin.example.com")
    (line,) = written(PLAIN, Server("10.0.0.1", 443, tls=tls))
    assert "ca-file /general/ca-1.pem" in line.arguments


def test_a_prepared_server_is_found_under_its_routes_name() -> None:
    assert as_found(CHECKED, "10.0.0.1", 80).name == ORDINARY.name
    tcp = Profile(mode="tcp", check="connect")
    assert as_found(tcp, "10.0.0.1", 27017) == Server("10.0.0.1", 27017, check=MONGO_CHECK)


def test_a_plain_server_is_added_with_its_weight_and_a_way_to_cut_it() -> None:
    server = Server("10.0.0.1", 80, weight=7)
    assert body(server, place) == {
        "name": server.name,
        "address": "10.0.0.1",
        "port": 80,
        "weight": 7,
        "on-marked-down": "shutdown-sessions",
    }


def test_a_checked_server_is_added_without_the_check_that_would_not_run() -> None:
    found = body(ORDINARY, place)
    assert "check" not in found
    assert "on-marked-down" not in found


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"address": "2001:db8::1"}, {"address": "[2001:db8::1]"}),
        ({"backup": True}, {"backup": "enabled"}),
        ({"maxconn": 5}, {"maxconn": 5}),
        ({"tls": ServerTls(None, None)}, {"ssl": "enabled", "verify": "none"}),
        (
            {"tls": ServerTls(SYSTEM_CA, "a.example.com")},
            {
                "ssl": "enabled",
                "verify": "required",
                "ssl_cafile": "/general/system-ca.pem",
                "sni": "str(a.example.com)",
            },
        ),
    ],
)
def test_options_of_a_server_that_is_added(
    options: dict[str, object], fields: dict[str, object]
) -> None:
    plain = Server("10.0.0.1", 80)
    found = body(msgspec.structs.replace(plain, **options), place)
    assert {name: found[name] for name in fields} == fields
    assert found.keys() - fields.keys() <= body(plain, place).keys()


def test_a_takeover_sets_address_and_weight_and_nothing_else() -> None:
    """It is put in service by a call of its own, once it is known whose it is."""
    server = msgspec.structs.replace(ORDINARY, weight=7)
    assert takeover("p1.0", server) == (
        "SetServerAddr p1.0 prepared 10.0.0.1 80",
        "SetServerWeight p1.0 prepared 7",
    )
