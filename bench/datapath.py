"""Series: what the data path carries with one route and with many, by wrk."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.fleet import Fleet, Options, say
from bench.mix import Route
from bench.results import DataPath, Results
from bench.systems.base import System
from bench.systems.programs import find
from harness.errors import HarnessError, UnavailableError

_CONNECTIONS = 32
# Different names that are asked for, evenly over all routes.
_NAMES = 4096
_UNIT_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}

_SCRIPT = """\
local requests, turn = {}, 0
function init(args)
  for line in io.lines(%(names)r) do
    requests[#requests + 1] = wrk.format("GET", "/", {["Host"] = line})
  end
end
function request()
  turn = turn %% #requests + 1
  return requests[turn]
end
"""


def run(results: Results, options: Options) -> dict[str, str]:
    """Measure with one route and with the largest size of up to 50,000; leave the others out."""
    results.datapath = []
    try:
        wrk = find("wrk")
    except UnavailableError as error:
        say(f"data path: {error}")
        return {"wrk": str(error)}
    largest = max((size for size in options.sizes if size <= 50_000), default=0)
    # What HAProxy does without a control plane shows in `ours`.
    peers = [peer for peer in options.peers if not peer.startswith("runtime")]
    with (
        Fleet(peers, preload=options.preload) as fleet,
        tempfile.TemporaryDirectory(prefix="bench-wrk-") as directory,
    ):
        for size in sorted({1, max(1, largest)}):
            say(f"data path, {size:,} routes")
            found = {
                system: DataPath(system.name, size, _CONNECTIONS) for system in fleet.load(size)
            }
            results.versions |= {system.name: system.version for system in found}
            script = _script(Path(directory), fleet.routes(size))
            for _ in range(options.rounds):
                for system, into in found.items():
                    _round(wrk, script, system, options.seconds / options.rounds, into)
            for into in found.values():
                say(f"  {into.system}: {max(into.rates):,.0f} requests/s, {into.errors} errors")
            results.datapath += found.values()
        return fleet.left_out


def _script(directory: Path, routes: Sequence[Route]) -> Path:
    step = max(1, len(routes) // _NAMES)
    names = directory / "names"
    names.write_text("".join(f"{route.host}\n" for route in routes[::step]))
    script = directory / "names.lua"
    script.write_text(_SCRIPT % {"names": str(names)})
    return script


def _round(wrk: Path, script: Path, system: System, seconds: float, into: DataPath) -> None:
    url = f"http://127.0.0.1:{system.port}/"
    load = ("-t1", f"-c{_CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--latency")
    command = [str(wrk), *load, "-s", str(script), url]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds + 60, check=False
    )
    if done.returncode != 0:
        raise HarnessError(f"wrk ended with {done.returncode}: {done.stdout}{done.stderr}")
    rate, p50, p99, errors = parse(done.stdout)
    into.rates.append(rate)
    into.p50_ms.append(p50)
    into.p99_ms.append(p99)
    into.errors += errors


def parse(output: str) -> tuple[float, float, float, int]:
    """Requests a second, median and 99th percentile in milliseconds, and errors, of wrk's report.

    Raises `HarnessError` for anything else than such a report.
    """
    rate = re.search(r"^Requests/sec: +([\d.]+)", output, re.MULTILINE)
    quantiles = dict(re.findall(r"^ +(50|99)% +([\d.]+(?:us|ms|s|m))", output, re.MULTILINE))
    if rate is None or set(quantiles) != {"50", "99"}:
        raise HarnessError(f"wrk's report can't be read: {output}")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    sockets = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output
    )
    errors = int(refused[1]) if refused else 0
    errors += sum(map(int, sockets.groups())) if sockets else 0
    return float(rate[1]), _ms(quantiles["50"]), _ms(quantiles["99"]), errors


def _ms(text: str) -> float:
    match = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    if match is None:
        raise HarnessError(f"{text} is no time of wrk's")
    return round(float(match[1]) * _UNIT_MS[match[2]], 4)
