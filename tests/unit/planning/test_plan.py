"""Plans as tables: before, after → the exact actions; a reload, yes or no, and why."""

from __future__ import annotations

import msgspec
import pytest

from frontserver.model.names import DomainName, PathPrefix
from frontserver.model.routes import (
    CookieName,
    HeaderEdits,
    HeaderName,
    HeaderValue,
    HealthCheck,
    HttpRoute,
    OriginTls,
    Route,
    Timeouts,
)
from frontserver.planning.actions import (
    Action,
    CutServer,
    DropEntry,
    PutCaFile,
    PutCertificate,
    PutEntry,
    PutServer,
    RetireServer,
    SetServer,
)
from frontserver.planning.compile import HTTP_PROFILE, MONGO_PROFILE
from frontserver.planning.compiled import (
    HTTPS_CERTIFICATE,
    Certificate,
    CompiledConfig,
    Profile,
    Server,
)
from frontserver.planning.diff import Changes, RouteChange, diff
from frontserver.planning.layout import Layout, Pool, PoolPolicy
from frontserver.planning.plan import MOST_GROWTH, Plan, ReloadReason, lay_out, plan
from tests.unit.planning.routes import FRONTENDS, POLICY, SCARCE, compiled, config, http, mongo

HOSTS, PATHS, SNI = "maps/hosts.map", "maps/paths.map", "maps/sni.map"
FLAGS = "maps/flags.map"
VALUES, SERVER_TIMEOUT = "maps/values.map", "maps/timeout_server.map"
SHOP, A1 = "shop.apps.example.com", "a1.mongodb.example.com"
PLAIN = HTTP_PROFILE.id + ".0"
TCP = MONGO_PROFILE.id + ".0"
HEADERS = Profile(mode="http", set_request=("x-a",))


def server(address: str = "10.0.0.1", port: int = 3000, **options: object) -> Server:
    return msgspec.structs.replace(Server(address, port), **options)


def edits(value: str) -> HeaderEdits:
    return HeaderEdits(set=((HeaderName("x-a"), HeaderValue(value)),))


def draining(route: HttpRoute) -> HttpRoute:
    targets = tuple(msgspec.structs.replace(target, drain=True) for target in route.targets)
    return msgspec.structs.replace(route, targets=targets)


def standing(*routes: Route) -> tuple[CompiledConfig, Layout]:
    """Routes that run, in pools of four slots of every profile used here."""
    profiles = {HTTP_PROFILE, MONGO_PROFILE, HEADERS}
    layout = Layout().reloaded({}, msgspec.structs.replace(POLICY, standard=tuple(profiles)))
    for key, route in compiled(*routes).items():
        assert route is not None
        layout = layout.place(key, route.profile)
    return config(*routes), layout


def planned(before: list[Route], after: list[Route]) -> Plan:
    old, layout = standing(*before)
    return plan(diff(old, config(*after)), layout)


ROWS: dict[str, tuple[list[Route], list[Route], list[Action]]] = {
    "nothing": ([http()], [http()], []),
    "a new HTTP route: server first, then the map": (
        [],
        [http()],
        [PutServer(PLAIN, server()), PutEntry(HOSTS, SHOP, PLAIN)],
    ),
    "a new MongoDB route": (
        [],
        [mongo()],
        [PutServer(TCP, server(port=27017)), PutEntry(SNI, A1, TCP)],
    ),
    "flags and values come before servers, and servers before routing": (
        [],
        [http(redirect_https=True, timeouts=Timeouts(server_ms=700))],
        [
            PutEntry(FLAGS, PLAIN, ",redirect-https,"),
            PutEntry(SERVER_TIMEOUT, PLAIN, "700"),
            PutServer(PLAIN, server()),
            PutEntry(HOSTS, SHOP, PLAIN),
        ],
    ),
    "another target: the new server before the old one goes": (
        [http()],
        [http("shop", "http://10.0.0.2:3000")],
        [PutServer(PLAIN, server("10.0.0.2")), RetireServer(PLAIN, server().name)],
    ),
    "one target more": (
        [http()],
        [http("shop", "http://10.0.0.1:3000", "http://10.0.0.2:3000")],
        [PutServer(PLAIN, server("10.0.0.2"))],
    ),
    "a value changes in place": (
        [http(timeouts=Timeouts(server_ms=100))],
        [http(timeouts=Timeouts(server_ms=200))],
        [PutEntry(SERVER_TIMEOUT, PLAIN, "200")],
    ),
    "a value goes": (
        [http(timeouts=Timeouts(server_ms=100))],
        [http()],
        [DropEntry(SERVER_TIMEOUT, PLAIN)],
    ),
    "a flag comes": (
        [http()],
        [http(use_tls=False)],
        [PutEntry(FLAGS, PLAIN, ",plain-only,")],
    ),
    "a flag goes": ([http(use_tls=False)], [http()], [DropEntry(FLAGS, PLAIN)]),
    "maintenance begins": (
        [http(use_tls=False)],
        [http(use_tls=False, maintenance=True)],
        [PutEntry(FLAGS, PLAIN, ",plain-only,,maintenance,")],
    ),
    "maintenance ends": ([http(maintenance=True)], [http()], [DropEntry(FLAGS, PLAIN)]),
    "a target drains, where it is": (
        [http()],
        [draining(http())],
        [SetServer(PLAIN, server(weight=0))],
    ),
    "a target is used again": (
        [draining(http())],
        [http()],
        [SetServer(PLAIN, server(weight=100))],
    ),
    "a path below a domain": (
        [http()],
        [http(), http(path=PathPrefix("/api/v2"))],
        [
            PutServer(HTTP_PROFILE.id + ".1", server()),
            PutEntry(PATHS, SHOP + "/api/v2/", HTTP_PROFILE.id + ".1"),
        ],
    ),
    "what goes is gone before anything comes": (
        [http(path=PathPrefix("/api"))],
        [http("shop", "http://10.0.0.2:80")],
        [
            DropEntry(PATHS, SHOP + "/api/"),
            CutServer(PLAIN, server().name),
            PutServer(HTTP_PROFILE.id + ".1", server("10.0.0.2", 80)),
            PutEntry(HOSTS, SHOP, HTTP_PROFILE.id + ".1"),
        ],
    ),
    "a path goes, and the rest of its domain stays": (
        [http(path=PathPrefix("/api")), http("shop", "http://10.0.0.2:80")],
        [http("shop", "http://10.0.0.2:80")],
        [DropEntry(PATHS, SHOP + "/api/"), CutServer(PLAIN, server().name)],
    ),
    "the domain changes": (
        [http()],
        [msgspec.structs.replace(http(), domain=DomainName("shop.other.example"))],
        [PutEntry(HOSTS, "shop.other.example", PLAIN), DropEntry(HOSTS, SHOP)],
    ),
    "another profile: fill the new slot, switch, let the old server drain": (
        [http()],
        [http(request_headers=edits("b"))],
        [
            PutEntry(VALUES, HEADERS.id + ".0/req/x-a", "b"),
            PutServer(HEADERS.id + ".0", server()),
            PutEntry(HOSTS, SHOP, HEADERS.id + ".0"),
            RetireServer(PLAIN, server().name),
        ],
    ),
    "removal: unreachable first, then cut": (
        [http(use_tls=False)],
        [],
        [DropEntry(HOSTS, SHOP), CutServer(PLAIN, server().name)],
    ),
    "removal of a MongoDB route": (
        [mongo()],
        [],
        [DropEntry(SNI, A1), CutServer(TCP, server(port=27017).name)],
    ),
}


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_runtime_actions(row: str) -> None:
    before, after, expected = ROWS[row]

    result = planned(before, after)

    assert [action for step in result.steps for action in step.actions] == expected
    assert result.reasons == ()
    assert result.deferred == ()


RELOADS: dict[str, tuple[Route, ReloadReason | None]] = {
    "a loaded profile with a free slot": (http("new"), None),
    "a profile never seen": (http("new", sticky=CookieName("C")), ReloadReason.NEW_PROFILE),
    "a pool without a free slot": (mongo("a2"), ReloadReason.POOL_EMPTY),
}


@pytest.mark.parametrize("row", RELOADS, ids=str)
def test_only_these_need_a_reload(row: str) -> None:
    route, reason = RELOADS[row]
    layout = Layout(
        pools=standing()[1].pools.set(MONGO_PROFILE.id, Pool(MONGO_PROFILE, 1, fresh=1))
    )

    result = plan(diff(config(), config(route)), layout)

    assert result.reasons == ((reason,) if reason else ())
    assert [change.key for change in result.deferred] == ([route.key] if reason else [])
    assert route.key in lay_out(result.layout, result.deferred, SCARCE).slots


def test_a_move_to_an_unknown_profile_leaves_the_old_slot_alone_until_the_reload() -> None:
    result = planned([http()], [http(sticky=CookieName("C"))])

    assert result.steps == ()
    assert result.layout.slots[http().key] == PLAIN
    after = lay_out(result.layout, result.deferred, SCARCE)
    assert after.slots[http().key] != PLAIN
    assert after.pools[HTTP_PROFILE.id].used == 0


def test_a_vacated_slot_rests_and_its_values_go_last() -> None:
    before = http(request_headers=edits("b"))

    (step,) = planned([before], []).steps

    slot = HEADERS.id + ".0"
    assert step.vacated == slot
    assert step.afterwards == (DropEntry(VALUES, slot + "/req/x-a"),)
    assert planned([before], []).layout.pools[HEADERS.id].resting == {0}


def test_a_removed_route_that_was_never_placed_needs_nothing() -> None:
    key = http().key
    changes = Changes(routes=(RouteChange(key, None, None),))

    (step,) = plan(changes, Layout()).steps

    assert (step.actions, step.vacated, step.afterwards) == ((), None, ())


def test_changed_frontends_need_a_reload() -> None:
    new = msgspec.structs.replace(FRONTENDS, hard_stop_after="1h")

    result = plan(diff(config(), config(frontends=new)), Layout())

    assert result.reasons == (ReloadReason.FRONTENDS,)


def test_a_renewed_certificate_needs_none_but_a_first_one_does() -> None:
    old = Certificate(HTTPS_CERTIFICATE, "old")
    new = Certificate(HTTPS_CERTIFICATE, "new")

    def with_certificate(*certificates: Certificate) -> CompiledConfig:
        return msgspec.structs.replace(config(), certificates=certificates)

    renewed = plan(diff(with_certificate(old), with_certificate(new)), Layout())
    first = plan(diff(with_certificate(), with_certificate(new)), Layout())

    assert (renewed.certificates, renewed.reasons) == ((PutCertificate(new),), ())
    assert (first.certificates, first.reasons) == ((), (ReloadReason.CERTIFICATES,))


def test_a_ca_of_its_own_is_loaded_before_the_server_that_needs_it() -> None:
    secure = http("shop", "https://origin.example.com", origin_tls=OriginTls(ca_pem="PEM\n"))
    plain = http("shop", "https://origin.example.com", origin_tls=OriginTls())
    keys = {"origin.example.com": "10.0.0.7"}

    from frontserver.planning.compile import compile_route

    old, new = compile_route(plain, keys), compile_route(secure, keys)
    layout = standing()[1].place(old.key, old.profile)
    changes = Changes(routes=(RouteChange(old.key, old, new),))

    (step,) = plan(changes, layout).steps

    assert [type(action) for action in step.actions] == [PutCaFile, PutServer, RetireServer]


def test_a_check_brings_its_path_and_host_as_values() -> None:
    route = http(check=HealthCheck(path="/healthz"))
    _, layout = standing()
    profile = compiled(route)[route.key].profile  # type: ignore[union-attr]
    layout = layout.reloaded({profile: 1}, SCARCE)

    (step,) = plan(diff(config(), config(route)), layout).steps

    slot = profile.id + ".0"
    assert step.actions[:2] == (
        PutEntry(VALUES, slot + "/check-host", SHOP),
        PutEntry(VALUES, slot + "/check-path", "/healthz"),
    )


@pytest.mark.parametrize("reloads", [False, True])
def test_a_pool_that_lacks_many_slots_is_loaded_instead_of_grown(reloads: bool) -> None:
    """Each backend that is made at run time takes a moment; so many take longer than a reload."""
    layout = Layout().reloaded({}, PoolPolicy((HTTP_PROFILE,), spare=2))
    lacking = MOST_GROWTH + reloads
    changes = diff(config(), config(*(http(f"r{n}") for n in range(2 + lacking))))

    planned = plan(changes, layout, frozenset({HTTP_PROFILE.id}))

    expected = (2, lacking) if reloads else (2 + lacking, 0)
    assert (len(planned.steps), len(planned.deferred)) == expected
    assert planned.reasons == ((ReloadReason.POOL_EMPTY,) if reloads else ())


def test_routes_that_keep_their_slots_lack_none() -> None:
    names = [f"r{n}" for n in range(MOST_GROWTH + 1)]
    before = config(*map(http, names))
    layout = Layout().reloaded({}, PoolPolicy((HTTP_PROFILE,), spare=len(names)))
    layout = plan(diff(config(), before), layout).layout
    after = config(*(http(name, "http://10.0.0.2:3000") for name in (*names, "new")))

    planned = plan(diff(before, after), layout, frozenset({HTTP_PROFILE.id}))

    assert len(planned.steps) == len(names) + 1
    assert planned.reasons == ()
