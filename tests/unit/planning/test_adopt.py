"""Recognising routes in a HAProxy that runs, whatever somebody did to it meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec
import pytest

from frontserver.backends.memory import MemoryBackend
from frontserver.backends.port import State
from frontserver.model.names import DomainName, PathPrefix
from frontserver.model.routes import Route, RouteKey, RouteKind, Timeouts
from frontserver.planning.actions import DropEntry, RetireServer
from frontserver.planning.compile import HTTP_PROFILE, MONGO_PROFILE
from frontserver.planning.compiled import (
    FLAGS,
    HOSTS,
    PATHS,
    SNI,
    TIMEOUT_SERVER,
    VALUES,
    CompiledConfig,
    Frontends,
)
from frontserver.planning.diff import diff
from frontserver.planning.layout import Layout
from frontserver.planning.plan import lay_out, plan
from frontserver.planning.running import Adopted, Running, RunningServer, adopt, materialise
from tests.unit.planning.routes import FRONTENDS, POLICY, compiled, config, http, mongo

P = HTTP_PROFILE.id
SHOP, BLOG = http("shop", "http://10.0.0.1:3000"), http("blog", "http://10.0.0.2:3000")
SHOP_DOMAIN, BLOG_DOMAIN = "shop.apps.example.com", "blog.apps.example.com"


def standing(*routes: Route) -> State:
    """Routes that run, on slots in the order given."""
    layout = Layout().reloaded({}, POLICY)
    for route in routes:
        made = compiled(route)[route.key]
        assert made is not None
        layout = layout.place(route.key, made.profile)
    return State(config(*routes), layout)


def running(*routes: Route) -> Running:
    state = standing(*routes)
    return materialise(state.config, state.layout)


def with_entries(seen: Running, name: str, **entries: str | None) -> Running:
    """What runs with entries set, or gone where `None`; `__` in a key is a dot."""
    content = dict(seen.maps[name])
    for name_of_entry, value in entries.items():
        key = name_of_entry.replace("__", ".")
        content.pop(key, None)
        if value is not None:
            content[key] = value
    return msgspec.structs.replace(seen, maps={**seen.maps, name: content})


def with_servers(seen: Running, backend: str, servers: Mapping[str, RunningServer]) -> Running:
    return msgspec.structs.replace(seen, servers={**seen.servers, backend: dict(servers)})


def converges(found_in: Running, desired: CompiledConfig, known: Layout | None = None) -> Running:
    """What runs after one look and one round of mending; nothing is left to mend."""

    async def run() -> Running:
        backend = MemoryBackend()
        backend.running = found_in
        found = adopt(desired, await backend.observe(), known)
        await backend.perform(found.strays)
        planned = plan(diff(found.config, desired), found.layout)
        assert await backend.apply(planned.steps) == {}
        for step in planned.steps:
            await backend.perform(step.afterwards)
        layout = planned.layout
        if planned.reasons:
            layout = lay_out(planned.layout, planned.deferred, POLICY)
            await backend.reload(State(desired, layout), planned.reasons)
        mended = await backend.observe()
        wanted = materialise(desired, layout)
        assert mended.maps == wanted.maps
        assert {b: s for b, s in mended.servers.items() if s} == {
            b: s for b, s in wanted.servers.items() if s
        }
        return mended

    return asyncio.run(run())


def test_what_runs_as_wanted_is_taken_as_such() -> None:
    state = standing(SHOP, mongo())
    found = adopt(state.config, materialise(state.config, state.layout))
    assert found == Adopted(state.config, found.layout, ())
    assert found.layout.slots == state.layout.slots
    # How much room there was when a pool was loaded isn't to be seen.
    assert {i: msgspec.structs.replace(p, room=0) for i, p in found.layout.pools.items()} == {
        i: msgspec.structs.replace(p, room=0) for i, p in state.layout.pools.items()
    }


def test_an_empty_haproxy_has_no_routes() -> None:
    empty = Running(frontends=None, pools={}, servers={}, maps={})
    found = adopt(config(SHOP), empty)
    assert dict(found.config.routes) == {}
    assert found.layout == Layout()
    assert found.strays == ()


@pytest.mark.parametrize(
    "other", [None, "another", msgspec.structs.replace(FRONTENDS, server_ms=1).fingerprint]
)
def test_other_frontends_than_wanted_show_as_a_difference(other: str | None) -> None:
    seen = msgspec.structs.replace(running(SHOP), frontends=other)
    changes = diff(adopt(config(SHOP), seen).config, config(SHOP))
    assert changes.frontends == FRONTENDS
    assert changes.routes == ()


def test_the_same_frontends_are_none() -> None:
    same = Frontends(**{f: getattr(FRONTENDS, f) for f in FRONTENDS.__struct_fields__})
    assert (
        diff(adopt(config(SHOP), running(SHOP)).config, config(SHOP, frontends=same)).frontends
        is None
    )


# --- what is missing, moved, or not as wanted ---


def test_a_server_that_is_gone_is_put_again() -> None:
    seen = with_servers(running(SHOP), f"{P}.0", {})
    converges(seen, config(SHOP))


@pytest.mark.parametrize(
    "change",
    [{"ready": False}, {"port": 1}, {"address": "10.9.9.9"}, {"weight": 0}],
    ids=lambda c: next(iter(c)),
)
def test_a_server_that_was_meddled_with_is_corrected(change: dict[str, object]) -> None:
    seen = running(SHOP)
    ((name, server),) = seen.servers[f"{P}.0"].items()
    meddled = with_servers(seen, f"{P}.0", {name: msgspec.structs.replace(server, **change)})
    found = adopt(config(SHOP), meddled)
    assert diff(found.config, config(SHOP))
    converges(meddled, config(SHOP))


def test_a_server_that_is_down_is_as_wanted() -> None:
    """Its health is its origin's business."""
    seen = running(SHOP)
    ((name, server),) = seen.servers[f"{P}.0"].items()
    down = with_servers(seen, f"{P}.0", {name: msgspec.structs.replace(server, up=False)})
    assert not diff(adopt(config(SHOP), down).config, config(SHOP))


def test_a_server_too_many_is_retired() -> None:
    seen = running(SHOP)
    extra = {**seen.servers[f"{P}.0"], "handmade": RunningServer("10.8.8.8", 80)}
    state = standing(SHOP)
    found = adopt(state.config, with_servers(seen, f"{P}.0", extra))
    (step,) = plan(diff(found.config, state.config), found.layout).steps
    assert RetireServer(f"{P}.0", "handmade") in step.actions
    converges(with_servers(seen, f"{P}.0", extra), state.config)


def test_a_route_without_its_entry_is_found_by_memory_alone() -> None:
    seen = with_entries(running(SHOP), HOSTS, shop__apps__example__com=None)
    state = standing(SHOP)

    remembered = adopt(state.config, seen, state.layout)
    assert remembered.layout.slots == state.layout.slots
    assert remembered.strays == ()
    assert [change.old is not None for change in diff(remembered.config, state.config).routes] == [
        True
    ]

    forgotten = adopt(state.config, seen)
    assert dict(forgotten.layout.slots) == {}
    assert [type(stray) for stray in forgotten.strays] == [RetireServer]
    assert forgotten.layout.resting() == {f"{P}.0"}
    for known in (state.layout, None):
        converges(seen, state.config, known)


def test_values_and_flags_are_corrected() -> None:
    route = http("shop", timeouts=Timeouts(server_ms=500), use_tls=False)
    seen = with_entries(running(route), FLAGS, **{f"{P}__0": ",redirect-https,"})
    seen = with_entries(seen, TIMEOUT_SERVER, **{f"{P}__0": "1"})
    seen = with_entries(seen, VALUES, **{f"{P}__0/req/x": "never asked for"})
    converges(seen, config(route))


def test_routes_that_nobody_wants_are_removed() -> None:
    found = adopt(config(), running(SHOP, mongo()))
    assert set(found.config.routes) == {SHOP.key, mongo().key}
    mended = converges(running(SHOP, mongo()), config())
    assert not any(mended.maps.values())


# --- strays ---


@pytest.mark.parametrize(
    "value", ["nowhere", "fs_none", f"{P}.999", "punknown.0", f"{P}.x", f"{P}.00", f"{P}.²", "-"]
)
def test_entries_that_lead_nowhere_are_dropped(value: str) -> None:
    seen = with_entries(running(SHOP), HOSTS, lost__apps__example__com=value)
    found = adopt(config(SHOP), seen)
    assert found.strays == (DropEntry(HOSTS, "lost.apps.example.com"),)
    assert found.config == config(SHOP)
    converges(seen, config(SHOP))


def test_flags_and_values_of_nobody_are_dropped() -> None:
    seen = with_entries(running(SHOP), FLAGS, **{f"{P}__2": ",plain-only,"})
    seen = with_entries(seen, VALUES, **{f"{P}__3/host": "x", "strange": "y"})
    found = adopt(config(SHOP), seen)
    assert set(found.strays) == {
        DropEntry(FLAGS, f"{P}.2"),
        DropEntry(VALUES, f"{P}.3/host"),
        DropEntry(VALUES, "strange"),
    }
    converges(seen, config(SHOP))


def test_leftover_servers_are_retired_and_their_slot_rests() -> None:
    seen = with_servers(running(SHOP), f"{P}.2", {"old": RunningServer("10.0.0.9", 80)})
    found = adopt(config(SHOP), seen)
    assert found.strays == (RetireServer(f"{P}.2", "old"),)
    assert found.layout.resting() == {f"{P}.2"}
    converges(seen, config(SHOP))


def test_servers_outside_of_our_pools_are_none_of_our_business() -> None:
    seen = with_servers(running(SHOP), "fs_trust", {"loads-the-file": RunningServer("::1", 1)})
    assert adopt(config(SHOP), seen).strays == ()


def test_a_path_that_runs_as_wanted_is_taken_as_such() -> None:
    below = http("shop", "http://10.0.0.3:80", path=PathPrefix("/api/v2"))
    state = standing(SHOP, below)
    found = adopt(state.config, materialise(state.config, state.layout))
    assert found == Adopted(state.config, found.layout, ())
    assert found.layout.slots == state.layout.slots


@pytest.mark.parametrize(
    "entry", [f"{SHOP_DOMAIN}/api", f"{SHOP_DOMAIN}/", "shop.other.example/api/", "/", "x/y//"]
)
def test_entries_that_nobody_would_write_for_a_path_go(entry: str) -> None:
    below = http("shop", path=PathPrefix("/api"))
    state = standing(below)
    seen = materialise(state.config, state.layout)
    paths = {**seen.maps[PATHS], entry: f"{P}.0"}
    converges(msgspec.structs.replace(seen, maps={**seen.maps, PATHS: paths}), state.config)


def test_a_path_that_leads_to_another_routes_backend_is_dropped_at_once() -> None:
    below = http("shop", "http://10.0.0.3:80", path=PathPrefix("/api"))
    state = standing(below, BLOG)
    seen = materialise(state.config, state.layout)
    stolen = {f"{SHOP_DOMAIN}/api/": f"{P}.1"}
    seen = msgspec.structs.replace(seen, maps={**seen.maps, PATHS: stolen})
    found = adopt(state.config, seen, state.layout)
    assert found.strays == (DropEntry(PATHS, f"{SHOP_DOMAIN}/api/"),)
    converges(seen, state.config, state.layout)


def test_a_resting_slot_keeps_what_its_last_streams_need() -> None:
    known = standing(SHOP, BLOG).layout.vacate(BLOG.key)
    seen = with_servers(running(SHOP), f"{P}.1", {"old": RunningServer("10.0.0.9", 80)})
    seen = with_entries(seen, VALUES, **{f"{P}__1/host": "x"})
    found = adopt(config(SHOP), seen, known)
    assert found.strays == ()
    assert found.layout.resting() == {f"{P}.1"}


# --- thieves ---


def test_a_domain_that_leads_to_another_routes_backend_is_dropped_at_once() -> None:
    """Its requests must not reach the other's origin while things are mended."""
    state = standing(SHOP, BLOG)
    seen = with_entries(
        materialise(state.config, state.layout), HOSTS, blog__apps__example__com=f"{P}.0"
    )
    found = adopt(state.config, seen, state.layout)
    assert found.strays == (DropEntry(HOSTS, BLOG_DOMAIN),)
    assert found.layout.slots == state.layout.slots
    mended = converges(seen, state.config, state.layout)
    assert mended.maps[HOSTS] == {SHOP_DOMAIN: f"{P}.0", BLOG_DOMAIN: f"{P}.1"}


def test_a_stranger_beside_a_routes_own_domain_is_dropped() -> None:
    """Whether its name comes before or after the owner's."""
    for name in ("aaa", "zzz"):
        state = standing(SHOP)
        entries = {f"{name}__apps__example__com": f"{P}.0"}
        seen = with_entries(materialise(state.config, state.layout), HOSTS, **entries)
        found = adopt(state.config, seen, state.layout)
        assert found.strays == (DropEntry(HOSTS, f"{name}.apps.example.com"),)
        converges(seen, state.config, state.layout)
        converges(seen, state.config)


def test_without_memory_a_backend_has_one_owner_all_the_same() -> None:
    state = standing(SHOP, BLOG)
    seen = with_entries(
        materialise(state.config, state.layout), HOSTS, shop__apps__example__com=f"{P}.1"
    )
    found = adopt(state.config, seen)
    assert list(found.layout.slots.values()).count(f"{P}.1") == 1
    assert len(set(found.layout.slots.values())) == len(found.layout.slots)
    mended = converges(seen, state.config)
    assert len(set(mended.maps[HOSTS].values())) == 2


def test_an_owner_is_found_behind_a_thief_that_has_a_place_of_its_own() -> None:
    state = standing(BLOG, SHOP)
    only_blog = standing(BLOG).layout
    seen = with_entries(
        materialise(state.config, state.layout), HOSTS, blog__apps__example__com=f"{P}.1"
    )
    found = adopt(state.config, seen, only_blog)
    assert dict(found.layout.slots) == {BLOG.key: f"{P}.0", SHOP.key: f"{P}.1"}
    assert found.strays == (DropEntry(HOSTS, BLOG_DOMAIN),)


def test_an_http_domain_on_a_mongodb_backend_is_a_thief() -> None:
    tcp = f"{MONGO_PROFILE.id}.0"
    state = standing(mongo())
    seen = with_entries(materialise(state.config, state.layout), HOSTS, a1__apps__example__com=tcp)
    found = adopt(state.config, seen, state.layout)
    assert found.strays == (DropEntry(HOSTS, "a1.apps.example.com"),)
    mended = converges(seen, state.config, state.layout)
    assert mended.maps[SNI] == {"a1.mongodb.example.com": tcp}


def test_the_same_label_under_another_app_domain_moves_without_a_gap() -> None:
    """The operator changed the application domain: the route keeps its slot."""
    moved = msgspec.structs.replace(SHOP, domain=DomainName("shop.other.example"))
    found = adopt(config(moved), running(SHOP))
    assert found.strays == ()
    assert found.layout.slots[RouteKey(RouteKind.HTTP, "shop")] == f"{P}.0"
    mended = converges(running(SHOP), config(moved))
    assert mended.maps[HOSTS] == {"shop.other.example": f"{P}.0"}


def test_both_domains_of_a_half_done_move_are_its_own() -> None:
    moved = msgspec.structs.replace(SHOP, domain=DomainName("shop.other.example"))
    seen = with_entries(running(SHOP), HOSTS, shop__other__example=f"{P}.0")
    assert adopt(config(moved), seen).strays == ()
    mended = converges(seen, config(moved))
    assert mended.maps[HOSTS] == {"shop.other.example": f"{P}.0"}


def test_a_memory_of_pools_that_are_gone_is_forgotten() -> None:
    state = standing(SHOP)
    bare = Running(FRONTENDS.fingerprint, {MONGO_PROFILE: 4}, {}, {})
    found = adopt(state.config, bare, state.layout)
    assert dict(found.layout.slots) == {}
    assert dict(found.config.routes) == {}


def test_what_isnt_placed_isnt_loaded() -> None:
    seen = materialise(config(SHOP), Layout().reloaded({}, POLICY))
    assert not any(seen.maps.values())
    layout = standing(SHOP).layout
    assert materialise(config(), layout).maps == seen.maps
