"""Series: what one more route costs in CPU and in bytes written, and what memory all of them take.

What a part does anyway (looking for drift, checking origins) is measured before, for as long, and
taken off. Only routes of the most frequent profile are added, few enough that no pool runs low, and
as many as three of the database's checkpoints: each merges what came since the one before.
"""

from __future__ import annotations

import contextlib
import time

from bench.fleet import Fleet, Options, say
from bench.mix import Additions, Route
from bench.processes import Usage, memory
from bench.results import Cost, Results
from bench.settling import look, settle, since
from bench.systems.base import System, is_served
from bench.wire import ClosedError, Connection
from harness.errors import HarnessError

# The pool's low water mark is beyond it at every size. A checkpoint comes every 64 commits: with
# fewer routes, one would be counted in full or not at all.
_ROUTES = 192
# Before these, and not counted: after a reload the first change copies each map that it touches,
# and the first checkpoint after loading merges what loading stored.
_FIRST = 64
# Disk follows a moment after the answer, and statuses a second after.
_AFTERWARDS = 2.0
_PAUSE = 0.05


def run(results: Results, options: Options) -> dict[str, str]:
    """Measure, and return the systems that were left out, and why."""
    results.cost = []
    with Fleet(options.peers, preload=options.preload) as fleet:
        for size in sorted(options.sizes):
            say(f"cost, {size:,} routes")
            for system in fleet.load(size):
                results.versions[system.name] = system.version
                try:
                    results.cost += _cost(system, size, fleet, options)
                except (HarnessError, OSError, ClosedError) as error:
                    fleet.give_up(system, f"failed at {size:,} routes: {error}")
        return fleet.left_out


def _cost(system: System, size: int, fleet: Fleet, options: Options) -> list[Cost]:
    seconds = max(5.0, options.seconds / 2)
    routes = Additions(fleet.origin.ports, prefix=f"c{size}x").take(_FIRST + _ROUTES, (0,))
    system.prepare(routes)
    first, routes = routes[:_FIRST], routes[_FIRST:]
    settle([system])
    for route in first:
        _publish(system, route, options.patience)
    settle([system])
    idle_begun = look(system)
    time.sleep(seconds)
    idle = since(system, idle_begun)

    state, begun, start = system.reload_state(), look(system), time.perf_counter()
    added = 0
    for route in routes:
        added += _publish(system, route, options.patience)
        time.sleep(
            max(0.0, start + (seconds - _AFTERWARDS) * added / _ROUTES - time.perf_counter())
        )
        if time.perf_counter() - start > 10 * seconds:
            break
    time.sleep(_AFTERWARDS)
    busy, passed = since(system, begun), time.perf_counter() - start
    reloads = int(system.reload_state() != state)
    found = [
        _part(system, size, part, added, busy[part], idle.get(part, Usage()), passed, seconds)
        for part in busy
    ]
    for cost in found:
        cost.reloads = reloads
        say(
            f"  {system.name}, {cost.part}: {cost.cpu_ms:.1f} ms CPU and {cost.written_kib:.0f} KiB"
            f" a route, {cost.pss_mib:.0f} MiB"
        )
    system.remove([*first, *routes[: max(1, added)]])
    return found


def _publish(system: System, route: Route, limit: float) -> bool:
    """Publish a route and wait until it is served, with few polls: they cost the proxy CPU too."""
    end = time.perf_counter() + limit
    system.begin(route).finish()
    with contextlib.closing(Connection(system.port)) as connection:
        while not is_served(connection, route):
            if time.perf_counter() > end:
                return False
            time.sleep(_PAUSE)
    return True


def _part(
    system: System,
    size: int,
    part: str,
    routes: int,
    busy: Usage,
    idle: Usage,
    seconds: float,
    idle_seconds: float,
) -> Cost:
    if not routes:
        raise HarnessError("no route was served in time")
    share = seconds / idle_seconds
    occupied = memory(system.processes()[part])
    return Cost(
        system=system.name,
        size=size,
        part=part,
        routes=routes,
        cpu_ms=round((busy.cpu_s - idle.cpu_s * share) * 1000 / routes, 3),
        disk_kib=round((busy.disk_bytes - idle.disk_bytes * share) / 1024 / routes, 2),
        written_kib=round((busy.written_bytes - idle.written_bytes * share) / 1024 / routes, 2),
        idle_cpu_ms_per_s=round(idle.cpu_s * 1000 / idle_seconds, 2),
        idle_disk_kib_per_s=round(idle.disk_bytes / 1024 / idle_seconds, 2),
        rss_mib=round(occupied.rss_mib, 1),
        pss_mib=round(occupied.pss_mib, 1),
    )
