"""Names of one agent whose servers never answer, and the names of everybody else."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import msgspec
import pytest

from frontserver.model.names import AgentId
from frontserver.model.routes import HttpRoute
from frontserver.model.status import RouteState
from frontserver.reconcile import resolution
from frontserver.reconcile.resolution import system_lookup
from tests.unit.planning.routes import http
from tests.unit.reconcile.world import QUICK, World, until

ACTIVE = RouteState.ACTIVE
DEAD = [f"d{number}.dead.internal" for number in range(200)]
SHOP = "shop.apps.example.com"


class Servers:
    """Name servers. Those of `dead.internal` say nothing before `answering` is set."""

    def __init__(self, world: World) -> None:
        self.asked: Counter[str] = Counter()
        self.now = 0
        self.answering = asyncio.Event()
        self._world = world
        world.resolver._lookup = self.lookup

    async def lookup(self, host: str) -> list[str]:
        self.asked[host] += 1
        if host in self._world.addresses:
            return self._world.addresses[host]
        self.now += 1
        try:
            await self.answering.wait()
        finally:
            self.now -= 1
        return ["10.6.6.6"]


@pytest.fixture
def world() -> World:
    return World(timing=msgspec.structs.replace(QUICK, names=0.01))


@pytest.fixture
async def servers(world: World) -> AsyncIterator[Servers]:
    servers = Servers(world)
    yield servers
    servers.answering.set()


def of_another(route: HttpRoute) -> HttpRoute:
    return msgspec.structs.replace(route, agent_id=AgentId("another"))


def dead_routes() -> list[HttpRoute]:
    return [of_another(http(f"d{n}", f"http://{host}")) for n, host in enumerate(DEAD)]


async def test_dead_names_of_one_agent_leave_threads_for_new_names_of_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing ends a thread before the system gives up, long after its owner heard of it."""
    monkeypatch.setattr(resolution, "_LOOKUP_SECONDS", 0.001)
    answering = threading.Event()
    asked: list[str] = []

    def query(host: str, *_: object, **__: object) -> list[tuple[Any, ...]]:
        asked.append(host)
        if host in DEAD:
            answering.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.5", 0))]

    world.resolver._lookup = partial(system_lookup, query=query)
    async with world.running() as reconciler:
        try:
            world.source.put(*dead_routes())
            reconciler.wake()
            await until(lambda: len(asked) >= 8 and not reconciler._waiting.routes)
            await until(lambda: len(world.resolver.problems) >= 8)
            revision = world.source.put(http("shop", "http://app.internal"))
            reconciler.wake()

            assert (await reconciler.settle(http("shop").key, revision, 5)).state == ACTIVE
            assert len(asked) < len(DEAD) / 4, "a dead name keeps its place"
        finally:
            answering.set()


async def test_dead_names_of_one_agent_hold_up_no_change_of_anothers_name(
    world: World, servers: Servers
) -> None:
    world.addresses["app.internal"] = ["10.0.0.5"]
    async with world.running() as reconciler:
        revision = world.source.put(http("shop", "http://app.internal"))
        world.source.put(*dead_routes())
        reconciler.wake()
        await reconciler.settle(http("shop").key, revision, 5)
        await until(lambda: servers.now > 0)

        world.addresses["app.internal"] = ["10.0.0.6"]
        await until(lambda: world.servers_of(SHOP) == ["10.0.0.6:80"])


async def test_names_that_died_hold_up_no_other_agents_name(world: World, servers: Servers) -> None:
    """They were healthy when their lookups began."""
    world.addresses = {host: ["10.6.6.6"] for host in DEAD} | {"app.internal": ["10.0.0.5"]}
    async with world.running() as reconciler:
        world.source.put(http("shop", "http://app.internal"), *dead_routes())
        reconciler.wake()
        await until(lambda: len(world.resolver.addresses) == len(DEAD) + 1)
        world.addresses = {"app.internal": ["10.0.0.5"]}
        await until(lambda: servers.now > 0)

        world.addresses["app.internal"] = ["10.0.0.6"]
        await until(lambda: world.servers_of(SHOP) == ["10.0.0.6:80"])


async def test_its_owner_hears_of_a_dead_name_and_a_late_answer_counts(
    world: World, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolution, "_LOOKUP_SECONDS", 0.01)
    async with world.running() as reconciler:
        revision = world.source.put(http("shop", "http://late.internal"))
        reconciler.wake()
        await until(
            lambda: "no answer in time" in (reconciler.status(http("shop").key).reason or "")
        )
        servers.answering.set()

        assert (await reconciler.settle(http("shop").key, revision, 5)).state == ACTIVE
        assert servers.asked["late.internal"] == 1, "nobody asks again what is still being asked"
