"""What a way to HAProxy can't carry is reloaded; whatever it can isn't."""

from __future__ import annotations

import re

import msgspec
import pytest

from frontserver.model.routes import HealthCheck
from frontserver.planning.compile import compile_route
from frontserver.planning.compiled import (
    VALUES,
    CaFile,
    CheckTiming,
    CompiledRoute,
    Profile,
    Server,
    ServerTls,
    SlotValue,
)
from frontserver.planning.diff import diff
from frontserver.planning.limits import (
    HTTP_CHECK,
    MONGO_CHECK,
    RuntimeLimits,
    is_prepared,
    ordinary_check,
    prepared,
)
from frontserver.planning.plan import ReloadReason, plan
from tests.unit.planning.routes import config, http, mongo
from tests.unit.planning.test_plan import standing

CHECKED = Profile(mode="http", check="http")
CHECKED_TCP = Profile(mode="tcp", check="connect")
ORDINARY = Server("10.0.0.1", 80, check=HTTP_CHECK)
LIMITS = RuntimeLimits(
    cookies=False,
    checks=False,
    unsayable=re.compile(";"),
    unsayable_keys=re.compile("#"),
    longest_bundle=250,
    longest_certificate=100,
)


def route(
    *servers: Server, profile: Profile = CHECKED, values: tuple[SlotValue, ...] = ()
) -> CompiledRoute:
    return CompiledRoute(http().key, profile, servers, (), values)


def value(text: str, suffix: str = "/x") -> SlotValue:
    return SlotValue(VALUES, suffix, text)


def trusting(*sizes: int) -> CompiledRoute:
    """A route with a CA bundle whose certificates are of so many bytes."""
    pem = "".join(_certificate(size) for size in sizes)
    return msgspec.structs.replace(route(), ca_files=(CaFile("certs/ca-1.pem", pem),))


def _certificate(size: int) -> str:
    begin, end = "-----BEGIN CERTIFICATE-----\n", "\n-----END CERTIFICATE-----\n"
    return f"{begin}{'x' * (size - len(begin) - len(end))}{end}"


def server(**options: object) -> Server:
    return msgspec.structs.replace(ORDINARY, **options)


WITH_COOKIE = Server("10.0.0.1", 80, cookie="c")
OTHER_TIMES = server(check=CheckTiming(700, 2, 3))

ROWS: dict[str, tuple[CompiledRoute | None, CompiledRoute, bool]] = {
    "a plain server": (None, route(Server("10.0.0.1", 80)), False),
    "an ordinary check": (None, route(ORDINARY), False),
    "an ordinary check, and a weight": (None, route(server(weight=7)), False),
    "a check with times of its own": (None, route(OTHER_TIMES), True),
    "two checked servers": (None, route(ORDINARY, server(port=81)), True),
    "a check of a server with TLS": (None, route(server(tls=ServerTls(None, "x"))), True),
    "a check of a server with a limit": (None, route(server(maxconn=5)), True),
    "a cookie": (None, route(WITH_COOKIE), True),
    "a cookie that is there": (route(WITH_COOKIE), route(WITH_COOKIE), False),
    "a check that is there": (route(OTHER_TIMES), route(OTHER_TIMES), False),
    "one of two checked servers goes": (route(ORDINARY, OTHER_TIMES), route(OTHER_TIMES), False),
    "a value": (None, route(values=(value("plain"),)), False),
    "a value that can't be said": (None, route(values=(value("a;b"),)), True),
    "a key that can't be said": (None, route(values=(value("plain", "/#"),)), True),
    "such a value that is there": (
        route(values=(value("a;b"),)),
        route(values=(value("a;b"), value("plain", "/y"))),
        False,
    ),
    "such a value goes": (route(values=(value("a;b"),)), route(), False),
    "a CA bundle": (None, trusting(100, 100), False),
    "a long CA bundle": (None, trusting(90, 90, 90), True),
    "a long certificate of a CA": (None, trusting(70, 101, 70), True),
    "a long CA bundle that is there": (trusting(90, 90, 90), trusting(90, 90, 90), False),
    "a long CA bundle goes": (trusting(90, 90, 90), route(), False),
    "a key counts only among keys": (None, route(values=(value("#"),)), False),
}


@pytest.mark.parametrize("row", ROWS)
def test_what_a_reload_is_for(row: str) -> None:
    old, new, prevented = ROWS[row]
    assert LIMITS.prevent(old, new) is prevented


@pytest.mark.parametrize("row", ROWS)
def test_without_limits_nothing_is(row: str) -> None:
    old, new, _ = ROWS[row]
    assert not RuntimeLimits().prevent(old, new)


@pytest.mark.parametrize(
    ("profile", "waits"),
    [
        (Profile(mode="http"), False),
        (CHECKED, True),
        (CHECKED_TCP, True),
        (Profile(mode="http", check="connect"), True),
        (Profile(mode="http", check="http", cookie="SID"), False),
    ],
)
def test_slots_of_checked_profiles_without_a_cookie_have_a_server_that_waits(
    profile: Profile, waits: bool
) -> None:
    assert is_prepared(profile) is waits


def test_the_one_server_of_a_route_can_be_the_prepared_one() -> None:
    assert prepared(CHECKED, (ORDINARY,)) == ORDINARY
    assert prepared(CHECKED, ()) is None
    assert prepared(CHECKED, (ORDINARY, ORDINARY)) is None
    assert prepared(CHECKED, (OTHER_TIMES,)) is None
    assert prepared(Profile(mode="http"), (Server("10.0.0.1", 80),)) is None


def test_ordinary_checks_are_those_that_routes_have_by_default() -> None:
    """Else no route that only asks for a check would find its server prepared."""
    for ordinary in (
        http(check=HealthCheck()),
        http(check=HealthCheck(path="/healthz")),
        mongo(check=True),
    ):
        compiled = compile_route(ordinary, {})
        assert prepared(compiled.profile, compiled.servers) == compiled.servers[0]


def test_ordinary_checks_differ_by_protocol() -> None:
    assert ordinary_check(CHECKED) == HTTP_CHECK
    assert ordinary_check(CHECKED_TCP) == MONGO_CHECK


def test_a_route_that_is_prevented_waits_alone() -> None:
    before, layout = standing()
    cookie = http("sticky")
    wanted = config(http(), cookie)
    routes = dict(wanted.routes)
    sticky = routes[cookie.key]
    routes[cookie.key] = msgspec.structs.replace(sticky, servers=(WITH_COOKIE,))
    changes = diff(before, wanted.with_routes(dict(routes)))

    planned = plan(changes, layout, limits=LIMITS)

    assert planned.reasons == (ReloadReason.RUNTIME_LIMITS,)
    assert planned.why == {cookie.key: ReloadReason.RUNTIME_LIMITS}
    assert [step.key for step in planned.steps] == [http().key]


def test_a_route_that_moves_is_new_where_it_goes() -> None:
    """What it has elsewhere doesn't help: its slot is another."""
    before, layout = standing(http())
    old = msgspec.structs.replace(before.routes[http().key], servers=(WITH_COOKIE,))
    before = before.with_routes({old.key: old})
    new = msgspec.structs.replace(old, profile=Profile(mode="http", set_request=("x-a",)))

    planned = plan(diff(before, before.with_routes({old.key: new})), layout, limits=LIMITS)

    assert planned.reasons == (ReloadReason.RUNTIME_LIMITS,)
