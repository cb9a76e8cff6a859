"""Names of targets, looked up by the system without holding up anything else."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from frontserver.reconcile.resolution import Resolver, system_lookup
from tests.unit.reconcile.world import until


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
            with pytest.raises(OSError, match="too many"):
                await system_lookup("one.more", query=query)
        abandoned, *others = lookups
        abandoned.cancel()
        await asyncio.wait({abandoned})
    finally:
        answered.set()
    assert await asyncio.gather(*others) == [["10.0.0.1"]] * 63
    assert await system_lookup("again", query=lambda *_, **__: [entry("10.0.0.1")]) == ["10.0.0.1"]


async def test_a_name_without_an_address_is_a_problem_and_keeps_what_it_had() -> None:
    answers: list[list[str]] = [[], ["10.0.0.1"], []]

    async def lookup(host: str) -> list[str]:
        return answers.pop(0)

    resolver = Resolver(lookup)
    assert await resolver.refresh(["app"]) == {"app"}
    assert "no address" in resolver.problems["app"]
    assert await resolver.refresh(["app"]) == {"app"}
    assert resolver.problems == {}
    assert await resolver.refresh(["app"]) == frozenset()
    assert resolver.addresses == {"app": "10.0.0.1"}


async def test_an_odd_error_of_one_lookup_concerns_one_name() -> None:
    async def lookup(host: str) -> list[str]:
        if host == "odd":
            raise ValueError("odd")
        return ["10.0.0.1"]

    resolver = Resolver(lookup)

    assert await resolver.refresh(["odd", "even"]) == {"odd", "even"}
    assert list(resolver.problems) == ["odd"]
