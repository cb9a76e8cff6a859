"""What HAProxy runs, as far as the API tells, and what is known besides."""

from __future__ import annotations

from pathlib import Path

import pytest

from frontserver.backends.dataplane.ledger import marker
from frontserver.backends.dataplane.places import file_name
from frontserver.backends.dataplane.servers import PREPARED
from frontserver.errors import ProxyUnavailableError
from frontserver.model.routes import HeaderEdits, HeaderName, HeaderValue, HealthCheck, Route
from frontserver.planning.compiled import HOSTS, VALUES
from frontserver.planning.running import RunningServer, materialise
from tests.unit.backends.dataplane.fake import FakeServer
from tests.unit.backends.dataplane.world import World
from tests.unit.planning.routes import compiled, http

CHECKED = http(check=HealthCheck())
HEADERS = http(
    request_headers=HeaderEdits(set=((HeaderName("x-a"), HeaderValue("one, two = three")),))
)


def name_of(route: Route) -> str:
    found = compiled(route)[route.key]
    assert found is not None
    return found.servers[0].name


async def test_what_was_loaded_and_done_at_run_time_is_seen(world: World) -> None:
    await world.begin(http(), http("other"))

    seen = await world.backend.observe()

    wanted = materialise(world.applied.config, world.applied.layout)
    assert seen.frontends == wanted.frontends
    assert (seen.maps, seen.pools) == (wanted.maps, wanted.pools)
    assert {b: set(s) for b, s in seen.servers.items()} == {
        b: set(s) for b, s in wanted.servers.items()
    }
    assert world.backend.version == "3.2.26"


async def test_a_haproxy_without_a_marker_of_ours_is_not_recognised(world: World) -> None:
    await world.start()
    assert (await world.backend.observe()).frontends is None


async def test_a_lost_ledger_makes_everything_new_without_a_failure(
    world: World, tmp_path: Path
) -> None:
    await world.begin(http())
    (tmp_path / "ledger.json").unlink()
    await world.kill()

    await world.start()
    assert (await world.backend.observe()).frontends is None
    await world.begin(http())

    label = world.backend._observer.label
    assert label is not None
    assert marker(label) in world.api.process.servers
    # The one before had the number 1, which nothing but its marker tells.
    assert label.startswith("000002-")


async def test_an_older_ledger_is_as_a_lost_one(world: World, tmp_path: Path) -> None:
    await world.begin(http())
    older = (tmp_path / "ledger.json").read_bytes()
    await world.bring(HEADERS)
    (tmp_path / "ledger.json").write_bytes(older)
    await world.kill()

    await world.start()
    assert (await world.backend.observe()).frontends is None
    await world.begin(HEADERS)
    assert (await world.backend.observe()).frontends is not None


async def test_the_running_configuration_is_found_though_the_file_is_another(world: World) -> None:
    await world.begin(http())
    world.api.text = "backend fs_rev_000009-0a0b0c0d from x\n"
    await world.kill()
    await world.start()
    assert (await world.backend.observe()).frontends is not None


async def test_a_prepared_server_in_service_is_its_routes_server(world: World) -> None:
    await world.begin(CHECKED)
    await world.flush()
    slot = world.slot(CHECKED)

    seen = await world.backend.observe()

    assert set(seen.servers[slot]) == {name_of(CHECKED)}


async def test_one_that_waits_is_no_server_at_all(world: World) -> None:
    await world.begin()
    seen = await world.backend.observe()
    assert not any(seen.servers.values())


@pytest.mark.parametrize("prepared_first", [True, False])
async def test_of_two_that_are_the_same_the_checked_one_counts(
    world: World, *, prepared_first: bool
) -> None:
    """Another control plane may have been killed while one took over from the other."""
    await world.begin(CHECKED)
    slot, name = world.slot(CHECKED), name_of(CHECKED)
    both = {
        PREPARED: FakeServer("10.0.0.1", 3000, "ready", 7),
        name: FakeServer("10.0.0.1", 3000, "drain"),
    }
    order = both if prepared_first else dict(reversed(both.items()))
    world.api.process.servers[slot] = dict(order)

    seen = await world.backend.observe()

    assert seen.servers[slot] == {name: RunningServer("10.0.0.1", 3000, weight=7)}
    look = await world.backend.look({slot: ()})
    assert set(look.servers[slot]) == {name}


async def test_a_server_that_leaves_is_none(world: World) -> None:
    await world.begin(http())
    slot = world.slot(http())
    world.api.process.servers[slot][name_of(http())].sessions = 1
    await world.bring(http("shop", "http://10.0.0.2:80"))

    seen = await world.backend.observe()
    look = await world.backend.look({slot: ()})

    assert len(seen.servers[slot]) == len(look.servers[slot]) == 1
    assert name_of(http()) not in seen.servers[slot]


async def test_of_another_worker_nobody_is_known_to_leave(world: World) -> None:
    await world.begin(http())
    await world.flush()
    slot = world.slot(http())
    world.api.process.servers[slot][name_of(http())].sessions = 1
    await world.bring(http("shop", "http://10.0.0.2:80"))
    world.api.restart()

    seen = await world.backend.observe()

    assert set(seen.servers[slot]) == {name_of(http())}


@pytest.mark.parametrize(
    ("state", "weight", "expected"),
    [
        ("ready", 7, RunningServer("10.0.0.1", 3000, weight=7)),
        ("drain", 7, RunningServer("10.0.0.1", 3000, weight=0)),
        ("ready", 0, RunningServer("10.0.0.1", 3000, weight=0)),
        ("maint", 7, RunningServer("10.0.0.1", 3000, ready=False, weight=7)),
    ],
)
async def test_states_of_a_server(
    world: World, state: str, weight: int, expected: RunningServer
) -> None:
    await world.begin(http())
    slot = world.slot(http())
    world.api.process.servers[slot][name_of(http())] = FakeServer("10.0.0.1", 3000, state, weight)
    assert (await world.backend.observe()).servers[slot] == {name_of(http()): expected}


# --- values ---


async def test_a_value_with_spaces_is_taken_to_be_as_it_was_put(world: World) -> None:
    await world.begin(HEADERS)
    slot = world.slot(HEADERS)
    key = next(k for k in world.api.process.maps[file_name(VALUES)] if k.startswith(slot))

    seen = await world.backend.observe()
    look = await world.backend.look({slot: ((VALUES, key),)})

    assert seen.maps[VALUES][key] == "one, two = three"
    assert look.entries[VALUES, key] == "one, two = three"


async def test_after_a_restart_its_file_tells_the_rest_of_it(world: World) -> None:
    await world.begin(HEADERS)
    await world.flush()
    await world.kill()
    await world.start()

    seen = await world.backend.observe()

    assert "one, two = three" in seen.maps[VALUES].values()


async def test_a_value_that_begins_otherwise_is_seen_as_it_is(world: World) -> None:
    await world.begin(HEADERS)
    content = world.api.process.maps[file_name(VALUES)]
    (key,) = content
    content[key] = "changed by somebody"

    seen = await world.backend.observe()

    assert seen.maps[VALUES] == {key: "changed"}


# --- a part ---


async def test_a_look_tells_entries_counts_and_the_worker(world: World) -> None:
    await world.begin(http())
    slot = world.slot(http())
    world.api.process.maps[file_name(HOSTS)]["stray.example.com"] = slot

    look = await world.backend.look(
        {slot: ((HOSTS, "shop.apps.example.com"), (HOSTS, "absent.example.com")), "p9.0": ()}
    )

    assert look.worker == world.api.pid
    assert look.entries == {
        (HOSTS, "shop.apps.example.com"): slot,
        (HOSTS, "absent.example.com"): None,
    }
    assert look.counts[HOSTS] == 2
    assert look.servers["p9.0"] == {}


async def test_a_look_sees_who_is_out_of_service_or_drained(world: World) -> None:
    await world.begin(http(), http("other"))
    slot, other = world.slot(http()), world.slot(http("other"))
    for backend, state in ((slot, "maint"), (other, "drain")):
        for server in world.api.process.servers[backend].values():
            server.state = state

    look = await world.backend.look({slot: (), other: ()})

    (out,), (drained,) = (look.servers[b].values() for b in (slot, other))
    assert not out.ready
    assert (drained.ready, drained.weight) == (True, 0)


async def test_a_prepared_server_is_named_by_the_address_it_has(world: World) -> None:
    await world.begin(CHECKED)
    await world.flush()
    slot = world.slot(CHECKED)
    world.api.process.servers[slot][PREPARED].address = "10.6.6.6"

    look = await world.backend.look({slot: ()})

    assert name_of(CHECKED) not in look.servers[slot]


async def test_haproxy_away_is_no_empty_haproxy(world: World) -> None:
    await world.begin(http())
    world.api.die()
    with pytest.raises(ProxyUnavailableError):
        await world.backend.observe()
    with pytest.raises(ProxyUnavailableError):
        await world.backend.look({world.slot(http()): ()})
    assert not await world.backend._observer.runs("000001-0a0b0c0d")
