"""Series: routes a second through the API from concurrent clients, and many routes at once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence

from bench.clients import Load, send_all
from bench.fleet import Fleet, Options, say
from bench.mix import PROFILES, STANDARD, Additions, Route
from bench.results import Results, Throughput, is_ours
from bench.settling import settle
from bench.statistics import percentile
from bench.systems.base import System, unserved
from bench.systems.ours import Ours
from harness.errors import HarnessError
from harness.polling import until

CONNECTIONS = 32
# Requests that are prepared for each second: more than will be answered.
_FASTEST = 1500
_BULK_SECONDS = 600.0
# Routes a request, and seconds that it may wait for HAProxy: the most that the product takes.
_BATCH = 10_000
_WAIT = 30
_SAMPLE = 200


def run(results: Results, options: Options) -> dict[str, str]:
    """Measure this product; others have no API that answers once a route is durable and live."""
    results.throughput = []
    with Fleet(tuple(filter(is_ours, options.peers)), preload=options.preload) as fleet:
        for size in sorted(options.sizes):
            say(f"throughput, {size:,} routes")
            for system in fleet.load(size):
                results.versions[system.name] = system.version
                assert isinstance(system, Ours)
                try:
                    results.throughput.append(_sustained(system, size, fleet, options.seconds))
                except (HarnessError, OSError, EOFError) as error:
                    fleet.give_up(system, f"failed at {size:,} routes: {error}")
        left_out = dict(fleet.left_out)
    say(f"bulk, {options.bulk:,} routes")
    # Into an installation that has no routes.
    with Fleet(tuple(filter(is_ours, options.peers))) as fleet:
        for system in fleet.load(0):
            assert isinstance(system, Ours)
            try:
                results.throughput.append(_bulk(system, fleet.routes(options.bulk)))
            except (HarnessError, OSError, EOFError) as error:
                fleet.give_up(system, f"failed with {options.bulk:,} routes at once: {error}")
        return {**left_out, **fleet.left_out}


def _sustained(system: Ours, size: int, fleet: Fleet, seconds: float) -> Throughput:
    additions = Additions(fleet.origin.ports, prefix=f"s{size}x")
    profiles = tuple(range(len(PROFILES))) if size else STANDARD
    routes = additions.take(int(seconds * _FASTEST), profiles)
    system.prepare(routes)
    settle([system])
    sent: list[Route] = []
    load = asyncio.run(
        send_all(
            system.front.api_port,
            _noted(system, routes, sent),
            connections=CONNECTIONS,
            seconds=seconds,
        )
    )
    found = _throughput(system, size, "sustained", load)
    _remove(system, sent)
    return found


def _noted(system: Ours, routes: Sequence[Route], sent: list[Route]) -> Iterator[bytes]:
    """The requests, made one by one, and what was sent of them."""
    for route in routes:
        sent.append(route)
        yield system.publishing(route)


def _remove(system: Ours, routes: Sequence[Route]) -> None:
    requests = [system.removing(route) for route in routes]
    asyncio.run(send_all(system.front.api_port, requests, connections=CONNECTIONS))


def _bulk(system: Ours, routes: Sequence[Route]) -> Throughput:
    """All of them in as few requests as the product takes; then until every route is served."""
    system.prepare(routes)
    requests = [
        system.publishing_all(routes[first : first + _BATCH], wait=_WAIT)
        for first in range(0, len(routes), _BATCH)
    ]
    begun = time.perf_counter()
    load = asyncio.run(send_all(system.front.api_port, requests, connections=1))
    # Asking for each one takes seconds by itself: a sample tells when, then all are asked.
    live, waiting = None, [*routes[:: max(1, len(routes) // _SAMPLE)], *routes[-_SAMPLE:]]
    with contextlib.suppress(HarnessError):
        until("a sample is served", lambda: _all_served(system, waiting), seconds=_BULK_SECONDS)
        live, waiting = time.perf_counter() - begun, unserved(system.port, routes)
        if waiting:
            until("all are served", lambda: _all_served(system, waiting), seconds=_BULK_SECONDS)
            live = time.perf_counter() - begun
    found = _throughput(system, 0, "bulk", load, connections=1)
    if not load.refused:
        found.routes = len(routes)
    found.live_seconds = None if live is None else round(live, 2)
    found.unserved = len(waiting)
    say(f"  {system.name}: all served after {found.live_seconds} s")
    return found


def _all_served(system: Ours, waiting: list[Route]) -> bool:
    """Strike out those that are served; the last one first, since the others needn't be asked."""
    if not unserved(system.port, waiting[-1:]):
        waiting[:] = unserved(system.port, waiting)
    return not waiting


def _throughput(
    system: System, size: int, kind: str, load: Load, connections: int = CONNECTIONS
) -> Throughput:
    if not load.latencies_ms:
        raise HarnessError(f"no route was published, {load.refused} were refused")
    found = Throughput(
        system=system.name,
        size=size,
        kind=kind,
        connections=connections,
        routes=len(load.latencies_ms),
        refused=load.refused,
        pending=load.pending,
        seconds=round(load.seconds, 3),
        p50_ms=round(percentile(load.latencies_ms, 0.5), 2),
        p99_ms=round(percentile(load.latencies_ms, 0.99), 2),
    )
    say(f"  {system.name}: {found.routes / found.seconds:.0f} routes/s, {found.refused} refused")
    return found
