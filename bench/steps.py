"""Series: where the time of one request goes, step by step."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import haproxies
from bench.fleet import Fleet, Options, say
from bench.mix import Additions
from bench.results import Results, Steps, is_ours
from bench.settling import settle
from bench.systems.ours import Ours
from bench.traced import TRACE
from harness.errors import HarnessError, UnavailableError
from harness.frontserver import FrontServer

_WARM_UP = 20
_PAUSE = 0.02
REST = "rest"
# What runs beside requests in the same process is no part of them, whenever it happens.
_BESIDE = frozenset({"drift check"})

Call = Sequence[Any]  # step, begin, end, own seconds


class TracedServer(FrontServer):
    """The product with a clock around its steps."""

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "bench.traced"]


def run(results: Results, options: Options) -> dict[str, str]:
    """Measure this product, one request after another."""
    results.steps = []
    left_out: dict[str, str] = {}
    for size in sorted(options.sizes):
        say(f"steps, {size:,} routes")
        for peer in filter(is_ours, options.peers):
            try:
                found = _traced(peer, size, options)
            except (UnavailableError, HarnessError) as error:
                left_out[peer] = str(error).splitlines()[0]
                say(f"  {peer}: {error}")
            else:
                results.steps.append(found)
                say(f"  {peer}: {found.total_ms:.2f} ms, {found.steps}")
    return left_out


def _traced(peer: str, size: int, options: Options) -> Steps:
    label = haproxies.label(peer)
    with Fleet(()) as fleet:
        place = fleet.place(peer)
        trace = place.directory / "trace.json"
        root = str(Path(__file__).parents[1])
        paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        system = Ours(
            place,
            label,
            haproxies.program(label),
            preload=options.preload,
            front=TracedServer,
            environ={TRACE: str(trace), "PYTHONPATH": paths},
        )
        try:
            system.load(fleet.routes(size))
            settle([system])
            spans = _publish(system, fleet, size, options)
            system.halt()
            # Later commands write one of their own.
            seen = json.loads(trace.read_text())
        finally:
            system.stop()
    return accounted(system.name, size, spans, seen)


def _publish(system: Ours, fleet: Fleet, size: int, options: Options) -> list[tuple[float, float]]:
    """When each request began and was answered; the first ones aren't counted."""
    number = max(30, int(options.seconds * options.rate / 4))
    routes = Additions(fleet.origin.ports, prefix=f"p{size}x").take(_WARM_UP + number, (0,))
    system.prepare(routes)
    spans = []
    for route in routes:
        before, reloading = system.reload_state(), system.reloading()
        begun = time.perf_counter()
        answered = system.begin(route).finish()
        # A reload has steps of its own.
        if answered is not None and not reloading and system.reload_state() == before:
            spans.append((begun, answered))
        time.sleep(_PAUSE)
    return spans[_WARM_UP:]


def accounted(
    system: str, size: int, spans: Sequence[tuple[float, float]], seen: Mapping[str, Any]
) -> Steps:
    """Each step's own time within the spans, on average; what is left is the rest. Pure.

    Both clocks are the same: CLOCK_MONOTONIC. Raises `HarnessError` if there is no span.
    """
    if not spans:
        raise HarnessError("no request was answered outside a reload")
    own: Counter[str] = Counter()
    own_calls = (call for call in seen["calls"] if call[0] not in _BESIDE)
    calls: list[Call] = sorted(own_calls, key=lambda call: float(call[1]))
    position = 0
    for begun, ended in sorted(spans):
        while position < len(calls) and calls[position][1] < begun:
            position += 1
        while position < len(calls) and calls[position][2] <= ended:
            own[calls[position][0]] += calls[position][3]
            position += 1
    total = sum(ended - begun for begun, ended in spans)
    scale = 1000 / len(spans)
    steps = {step: round(seconds * scale, 4) for step, seconds in own.items()}
    steps[REST] = round((total - sum(own.values())) * scale, 4)
    return Steps(
        system=system,
        size=size,
        requests=len(spans),
        total_ms=round(total * scale, 3),
        steps=steps,
        missing=list(seen["missing"]),
    )
