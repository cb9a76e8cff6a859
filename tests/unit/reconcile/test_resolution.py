"""Names of targets, looked up by the system without holding up anything else."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from frontserver.reconcile.resolution import Resolver, system_lookup
from tests.unit.reconcile.world import until
from tests.unit.security.samples import Seconds


def entry(address: str) -> tuple[Any, ...]:
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))


async def test_the_systems_answer_is_taken_sorted_and_without_doubles() -> None:
    def query(host: str, *_: object, **__: object) -> list[tuple[Any, ...]]:
        assert host == "app.internal"
        return [entry("10.0.0.2"), entry("10.0.0.1"), entry("10.0.0.2")]

    assert await system_lookup("app.internal", query=query) == ["10.0.0.1", "10.0.0.2"]


async def test_addresses_of_one_interface_only_are_no_use() -> None:
    def query(*_: object, **__: object) -> list[tuple[Any, ...]]:
        return [entry("fe80::1%eth0"), entry("2001:db8::1")]

    assert await system_lookup("app.internal", query=query) == ["2001:db8::1"]


async def test_localhost_resolves() -> None:
    assert {"127.0.0.1", "::1"} & set(await system_lookup("localhost"))


async def test_an_error_of_the_system_reaches_the_caller() -> None:
    def query(*_: object, **__: object) -> list[tuple[Any, ...]]:
        raise socket.gaierror("no such name")

    with pytest.raises(OSError, match="no such name"):
        await system_lookup("app.internal", query=query)


async def test_slow_name_servers_hold_up_neither_the_disk_nor_the_end() -> None:
    """However many they are: threads are shared with whatever else blocks, these are not."""
    answered = threading.Event()
    asked = threading.Semaphore(0)

    def query(*_: object, **__: object) -> list[tuple[Any, ...]]:
        asked.release()
        answered.wait()
        return [entry("10.0.0.1")]

    lookups = [asyncio.create_task(system_lookup("slow.internal", query=query)) for _ in range(64)]
    try:
        await until(lambda: asked._value == 64)  # type: ignore[attr-defined]
        async with asyncio.timeout(5):
            assert await asyncio.to_thread(lambda: "done") == "done"
        abandoned, *others = lookups
        abandoned.cancel()
        await asyncio.wait({abandoned})
    finally:
        answered.set()
    assert await asyncio.gather(*others) == [["10.0.0.1"]] * 63


async def refreshed(resolver: Resolver, *hosts: str) -> set[str]:
    """Those of the names that changed."""
    changed: list[str] = []
    for host in hosts:
        await resolver.refresh(host, changed.append)
    return set(changed)


async def test_a_name_without_an_address_is_a_problem_and_keeps_what_it_had() -> None:
    answers: list[list[str]] = [[], ["10.0.0.1"], []]

    async def lookup(host: str) -> list[str]:
        return answers.pop(0)

    resolver = Resolver(lookup)
    assert await refreshed(resolver, "app") == {"app"}
    assert "no address" in resolver.problems["app"]
    assert await refreshed(resolver, "app") == {"app"}
    assert resolver.problems == {}
    assert await refreshed(resolver, "app") == set()
    assert resolver.addresses == {"app": "10.0.0.1"}


async def test_an_odd_error_of_one_lookup_concerns_one_name() -> None:
    async def lookup(host: str) -> list[str]:
        if host == "odd":
            raise ValueError("odd")
        return ["10.0.0.1"] if host == "even" else ["not an address"]

    resolver = Resolver(lookup)

    assert await refreshed(resolver, "odd", "even", "broken") == {"odd", "even", "broken"}
    assert list(resolver.problems) == ["odd", "broken"]


async def test_an_address_that_became_known_during_a_lookup_stays() -> None:
    async def lookup(host: str) -> list[str]:
        resolver.addresses["app"] = "10.0.0.5"
        return ["10.0.0.3", "10.0.0.5"]

    resolver = Resolver(lookup)

    assert await refreshed(resolver, "app") == set()
    assert resolver.addresses == {"app": "10.0.0.5"}


@pytest.mark.parametrize(("took", "rests"), [(0.001, 0.01), (5.0, 50.0), (40.0, 120.0)])
async def test_a_name_that_fails_rests_as_long_as_it_cost(took: float, rests: float) -> None:
    clock = Seconds()
    dead = True

    async def lookup(host: str) -> list[str]:
        clock.now += took
        return [] if dead else ["10.0.0.1"]

    resolver = Resolver(lookup, clock=clock)
    assert resolver.is_due("app")
    await refreshed(resolver, "app")

    clock.now += 0.99 * rests
    assert not resolver.is_due("app")
    clock.now += 0.02 * rests
    assert resolver.is_due("app")
    await refreshed(resolver, "app")
    resolver.forget(["app"])
    assert resolver.is_due("app")
    dead = False
    await refreshed(resolver, "app")
    assert resolver.is_due("app")
