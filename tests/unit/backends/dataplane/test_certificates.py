"""A certificate that was renewed stays renewed, whatever is written later."""

from __future__ import annotations

import asyncio

import pytest

from frontserver.backends.dataplane.places import file_name
from frontserver.dataplane.errors import DataPlaneError, ReloadFailedError
from frontserver.errors import CommandRefusedError
from frontserver.planning.compiled import HTTPS_CERTIFICATE, Certificate
from tests.unit.backends.dataplane.world import World
from tests.unit.planning.routes import http

A = http("a", "http://10.0.0.1:80")
OLD = (Certificate(HTTPS_CERTIFICATE, "OLD\n"),)
NEW = (Certificate(HTTPS_CERTIFICATE, "NEW\n"),)
FILE = file_name(HTTPS_CERTIFICATE)


@pytest.fixture
async def renewed(world: World) -> World:
    """HAProxy had the old one, and was given the new one."""
    world.certificates = OLD
    await world.begin(A)
    await world.flush()
    world.certificates = NEW
    await world.applied.serve(NEW)
    assert world.api.files[FILE] == "NEW\n"
    return world


async def test_when_the_api_comes_back(renewed: World) -> None:
    await renewed.start()
    await renewed.backend.observe()
    await renewed.flush()

    assert renewed.api.files[FILE] == "NEW\n"


async def test_when_somebody_has_edited_a_file(renewed: World) -> None:
    renewed.backend._write_anew()
    await renewed.flush()

    assert renewed.api.files[FILE] == "NEW\n"


async def test_when_a_reload_fails(renewed: World) -> None:
    renewed.api.fail("load_map", ReloadFailedError("cannot bind"))
    with pytest.raises(ReloadFailedError):
        await renewed.refill()

    assert renewed.api.files[FILE] == "NEW\n"


async def test_in_the_midst_of_a_write(world: World) -> None:
    world.certificates = OLD
    await world.begin(A)
    world.backend._writer.edited()

    async with world.backend._writer.held():
        renewing = asyncio.create_task(world.applied.serve(NEW))
        flushing = asyncio.create_task(world.flush())
    await asyncio.gather(renewing, flushing)

    assert world.api.files[FILE] == "NEW\n"


async def test_when_what_was_prepared_before_is_checked(renewed: World) -> None:
    """A reload is prepared beside all else: it may stand on the certificate of a while ago."""
    older = renewed.applied.state
    for certificate in OLD:
        older = older.with_certificate(certificate)
    await renewed.backend.check(older)

    assert renewed.api.files[FILE] == "NEW\n"


async def test_one_that_is_refused_is_put_back(world: World) -> None:
    """The API may have stored it all the same."""
    world.certificates = OLD
    await world.begin(A)
    await world.flush()

    async def store() -> None:
        world.api.files[FILE] = "NEW\n"
        raise DataPlaneError("refused", status=500)

    world.api.meanwhile("replace_certificate", store)
    with pytest.raises(CommandRefusedError):
        await world.applied.serve(NEW)
    await world.flush()

    assert world.api.files[FILE] == "OLD\n"
