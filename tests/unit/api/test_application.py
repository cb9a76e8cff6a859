"""Start, stop, and what every answer has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient

from tests.unit.api.fakes import World


async def test_lifespan_and_hooks_run_around_the_service() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        seen.append("open")
        yield
        seen.append("close")

    world = World(
        lifespan=[lifespan],
        on_startup=[lambda: seen.append("start")],
        on_shutdown=[lambda: seen.append("stop")],
    )
    async with AsyncTestClient(world.api) as client:
        assert (await client.get("/health")).status_code == 200
        assert seen == ["open", "start"]

    assert sorted(seen[2:]) == ["close", "stop"]


@pytest.mark.parametrize("path", ["/health", "/nowhere", "/schema/openapi.json", "/api/proxy/http"])
async def test_no_answer_may_be_taken_for_another_type(world: World, path: str) -> None:
    answer = await world.call("GET", path)

    assert answer.headers["x-content-type-options"] == "nosniff"
