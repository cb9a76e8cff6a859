"""Series: HAProxy alone serves what is on disk, after a start without the control plane."""

from __future__ import annotations

import ssl
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from bench import haproxies
from bench.fleet import Fleet, Options, say
from bench.mix import Route
from bench.processes import children, usage
from bench.results import ColdStart, Results, is_ours
from bench.systems.base import Place, unserved
from bench.systems.ours import Ours
from bench.wire import ClosedError, Connection, request
from harness.certificates import ThrowawayCa
from harness.errors import HarnessError, UnavailableError
from harness.frontserver import APP_DOMAIN
from harness.names import resolve_to_loopback
from harness.processes import Child

# Few, since the client asks for one after another, and its time counts.
_SAMPLE = 200
_PATIENCE = 120.0
_PAUSE = 0.001


def run(results: Results, options: Options) -> dict[str, str]:
    """Measure each HAProxy at the largest size of up to 50,000 that was asked for."""
    results.coldstart = []
    size = max((size for size in options.sizes if size <= 50_000), default=0)
    left_out: dict[str, str] = {}
    say(f"cold start, {size:,} routes")
    for peer in filter(is_ours, options.peers):
        with Fleet(()) as fleet:
            try:
                found = _cold_start(peer, fleet, fleet.routes(size), options)
            except (UnavailableError, HarnessError) as error:
                left_out[peer] = str(error).splitlines()[0]
                say(f"  {peer}: {error}")
            else:
                results.coldstart.append(found)
                say(f"  {peer}: {found.first_s:.2f} s to the first, {found.sampled_s:.2f} s to all")
    return left_out


def _cold_start(peer: str, fleet: Fleet, routes: Sequence[Route], options: Options) -> ColdStart:
    label = haproxies.label(peer)
    program = haproxies.program(label)
    place = fleet.place(peer)
    ca = ThrowawayCa(place.directory / "ca")
    certificate = ca.issue(f"*.{APP_DOMAIN}")
    system = Ours(place, label, program, preload=options.preload, https_certificate=certificate)
    try:
        system.load(routes)
        # Disk follows within a second.
        time.sleep(2)
        system.stop()
        return _started(system, program, place, routes, ca.file)
    finally:
        system.stop()


def _started(
    system: Ours, program: Path, place: Place, routes: Sequence[Route], ca: Path
) -> ColdStart:
    config = system.front.config_dir / "current"
    master = system.front.sockets.master
    step = max(1, len(routes) // _SAMPLE)
    sample = list(routes[::step])
    begun = time.perf_counter()
    child = Child(
        "haproxy",
        [program, "-W", "-S", master, "-f", config],
        log=place.directory / "cold.log",
    )
    try:
        first = _until_served(system.port, sample, child, one=True) - begun
        sampled = _until_served(system.port, sample, child, one=False) - begun
        used = usage((child.pid, *children(child.pid)))
        return ColdStart(
            system=system.name,
            size=len(routes),
            sampled=len(sample),
            first_s=round(first, 3),
            sampled_s=round(sampled, 3),
            unserved=len(unserved(system.port, routes)),
            cpu_s=round(used.cpu_s, 2),
            https=not sample or _by_https(system.front.https_port, sample[-1], ca),
        )
    finally:
        child.terminate()


def _until_served(port: int, sample: Sequence[Route], child: Child, *, one: bool) -> float:
    """When the first of them was answered right, or all were."""
    connection = Connection(port)
    waiting = list(sample[:1] if one else sample)
    deadline = time.perf_counter() + _PATIENCE
    while waiting:
        try:
            reply = connection.ask(request("GET", "/", waiting[-1].host))
        except (OSError, ClosedError):
            reply = None
        if reply is not None and reply.status == 200 and reply.body == waiting[-1].echo:
            waiting.pop()
        elif child.exit_code is not None or time.perf_counter() > deadline:
            raise HarnessError(f"HAProxy doesn't serve {waiting[-1].host}\n{child.tail()}")
        else:
            time.sleep(_PAUSE)
    connection.close()
    return time.perf_counter()


def _by_https(port: int, route: Route, ca: Path) -> bool:
    context = ssl.create_default_context(cafile=str(ca))
    with (
        resolve_to_loopback([APP_DOMAIN]),
        httpx.Client(verify=context, trust_env=False) as client,
    ):
        answer = client.get(f"https://{route.host}:{port}/")
    return answer.status_code == 200 and answer.content == route.echo
