"""Series: this product on a Data Plane API, beside a transaction and a reload for each route."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from bench.clients import send_all
from bench.fleet import Fleet, Options, say
from bench.live import Turn
from bench.mix import Route
from bench.results import DataPlane, Results
from bench.settling import settle
from bench.statistics import percentile
from bench.systems.base import unserved
from bench.systems.dataplane import OursByDataPlane
from harness.polling import until

_KINDS = ("ours-dataplane", "transaction")
# Those that run where the peers name none of these.
_USUAL = ("ours-dataplane:3.2", "transaction:3.2")
# Of a profile that is loaded: what needs a reload is the same on both.
_PLAIN = (0,)
_BURST = 100
_CONNECTIONS = 16
_SECONDS = 120.0


def run(results: Results, options: Options) -> dict[str, str]:
    """Measure, and return the systems that were left out, and why."""
    peers = tuple(peer for peer in options.peers if peer.partition(":")[0] in _KINDS)
    results.dataplane = []
    with Fleet(peers or _USUAL, preload=options.preload) as fleet:
        for size in sorted(options.sizes):
            say(f"dataplane, {size:,} routes")
            turns = [
                Turn(system, size, fleet, options, profiles=_PLAIN) for system in fleet.load(size)
            ]
            results.versions |= {turn.system.name: turn.system.version for turn in turns}
            settle(turn.system for turn in turns)
            for _ in range(options.rounds):
                for turn in turns:
                    turn.block(options.seconds / options.rounds)
            for turn in turns:
                turn.clean_up()
                found = DataPlane(turn.system.name, size, live_ms=turn.mix.live_ms)
                if isinstance(turn.system, OursByDataPlane):
                    _burst(turn, turn.system, found)
                results.dataplane.append(found)
                if found.live_ms:
                    say(f"  {found.system}: p50 {percentile(found.live_ms, 0.5):.1f} ms")
        for system in fleet.systems:
            if isinstance(system, OursByDataPlane):
                last = max(
                    (each for each in results.dataplane if each.system == system.name),
                    key=lambda each: each.size,
                )
                last.unserved = _after_a_crash(system)
        return fleet.left_out


def _burst(turn: Turn, system: OursByDataPlane, found: DataPlane) -> None:
    """A hundred routes at once: until all are live, and until the files have them."""
    routes = turn.more(_BURST)
    system.prepare(routes)
    requests = [system.publishing(route) for route in routes]
    begun = time.perf_counter()
    asyncio.run(send_all(system.front.api_port, requests, connections=_CONNECTIONS))
    _until_served(system, routes)
    found.burst_s = round(time.perf_counter() - begun, 3)
    until("the files have them", lambda: system.wrote(routes), seconds=_SECONDS)
    found.written_s = round(time.perf_counter() - begun, 3)


def _until_served(system: OursByDataPlane, routes: Sequence[Route]) -> None:
    waiting = list(routes)

    def all_served() -> bool:
        waiting[:] = unserved(system.port, waiting)
        return not waiting

    until("they are served", all_served, seconds=_SECONDS)


def _after_a_crash(system: OursByDataPlane) -> int:
    """Kill everything, start HAProxy alone, and count the routes that it doesn't serve."""
    routes = system.served
    system.crash()
    try:
        until("HAProxy serves", lambda: not unserved(system.port, routes[:1]), quiet=(OSError,))
        return len(unserved(system.port, routes))
    finally:
        system.stop()
