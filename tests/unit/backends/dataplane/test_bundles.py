"""CA bundles of routes are deleted once nothing needs them, and not before."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from frontserver.backends.dataplane.places import file_name
from frontserver.dataplane.errors import BusyError, DataPlaneError, ReloadFailedError
from frontserver.model.names import DomainName
from frontserver.model.routes import CookieName, OriginTls, Route
from tests.unit.backends.dataplane.world import World
from tests.unit.planning.routes import FRONTENDS, compiled, http


def trusting(pem: str, name: str = "shop", **options: Any) -> Route:
    tls = OriginTls(ca_pem=pem, server_name=DomainName("origin.internal"))
    return http(name, "https://10.0.0.1:443", origin_tls=tls, **options)


def stored(world: World) -> set[str]:
    return {name for name in world.api.files if name.startswith("fs-ca-")}


def named(*routes: Route) -> set[str]:
    found = [r for route in routes for r in compiled(route).values() if r is not None]
    return {file_name(file.name) for route in found for file in route.ca_files}


OLD, NEW = trusting("OLD\n"), trusting("NEW\n")


@pytest.fixture
async def changed(world: World) -> World:
    """HAProxy has loaded one bundle, and the route has another one by now."""
    world.frontends = msgspec.structs.replace(FRONTENDS, system_ca="SYSTEM\n")
    await world.begin(OLD)
    await world.refill()
    await world.bring(NEW)
    await world.flush()
    assert stored(world) == named(OLD, NEW)
    return world


async def test_a_reload_leaves_only_those_that_are_loaded(changed: World) -> None:
    await changed.refill()

    assert stored(changed) == named(NEW)


async def test_one_that_comes_back_with_a_reload_is_stored_again(changed: World) -> None:
    await changed.refill()
    await changed.bring(NEW, trusting("OLD\n", "other", sticky=CookieName("SID")))

    assert stored(changed) == named(OLD, NEW)


async def test_what_is_loaded_stays_until_something_else_is(changed: World) -> None:
    """The API puts the configuration of the last reload back if the next one fails."""
    changed.api.reload_fails = "cannot bind"
    with pytest.raises(ReloadFailedError):
        await changed.refill()

    assert stored(changed) == named(OLD, NEW)


async def test_between_reloads_what_was_never_loaded_goes_too(changed: World) -> None:
    """Else one agent could fill the disk."""
    changed.backend._writer._bundles._due = 0.0
    await changed.bring(trusting("NEWER\n"))
    await changed.flush()

    assert stored(changed) == named(OLD, trusting("NEWER\n"))


async def test_so_it_does_after_a_restart_of_the_control_plane(changed: World) -> None:
    """What was there at the start may be what HAProxy has loaded."""
    await changed.kill()
    await changed.begin(NEW)
    for pem in ("A\n", "B\n", "C\n"):
        changed.backend._writer._bundles._due = 0.0
        await changed.bring(trusting(pem))
        await changed.flush()

    assert stored(changed) == named(OLD, NEW, trusting("C\n"))


async def test_those_of_a_configuration_that_is_being_checked_stay(changed: World) -> None:
    other = trusting("OTHER\n", "other")
    config = changed.applied.config.with_routes(compiled(NEW, other))
    state = msgspec.structs.replace(changed.applied.state, config=config)
    found: list[set[str]] = []

    async def written_meanwhile() -> None:
        changed.backend._writer._bundles._due = 0.0
        changed.backend._writer.edited()
        await changed.flush()
        found.append(stored(changed))

    changed.api.meanwhile("validate_raw", written_meanwhile)
    await changed.backend.check(state)

    assert found == [named(OLD, NEW, other)]


@pytest.mark.parametrize("error", [BusyError("in use"), DataPlaneError("no", status=500)])
async def test_one_that_cannot_be_deleted_fails_no_reload(changed: World, error: Exception) -> None:
    changed.api.fail("delete_general", error)

    await changed.refill()

    assert changed.api.reloads
    assert not changed.backend._writer.is_behind


async def test_files_of_others_stay(changed: World) -> None:
    changed.api.files["ca-0123.pem"] = changed.api.files["fs-other.pem"] = "theirs"
    await changed.refill()

    assert {"ca-0123.pem", "fs-other.pem"} <= changed.api.files.keys()
