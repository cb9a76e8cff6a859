"""What a run found out, raw, as it is kept in JSON."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured."""

    processor: str
    cores: int
    memory_gib: float
    kernel: str
    python: str


class Live(msgspec.Struct):
    """From the request to the first 200 through the proxy, and to the request's own answer.

    `inside` are the indexes of those that met a reload. `kind` is `mix` or `new profile`.
    """

    system: str
    size: int
    kind: str = "mix"
    live_ms: list[float] = []
    answer_ms: list[float] = []
    inside: list[int] = []
    # How long the reloads took that ended meanwhile.
    reload_ms: list[float] = []
    # Refused, or given up on after this many seconds each.
    lost: int = 0
    limit_s: float = 0.0


class Steps(msgspec.Struct):
    """Milliseconds of each step, on average, of `requests` that were published one by one."""

    system: str
    size: int
    requests: int
    total_ms: float
    steps: dict[str, float]
    # Steps whose code wasn't found where it is looked for.
    missing: list[str] = []


class Throughput(msgspec.Struct):
    """Routes published by concurrent clients; `pending` of them were durable, but not live yet."""

    system: str
    size: int
    kind: str
    connections: int
    routes: int
    refused: int
    pending: int
    seconds: float
    p50_ms: float
    p99_ms: float
    # For `bulk`: until every route was served through the proxy.
    live_seconds: float | None = None
    unserved: int = 0


class Cost(msgspec.Struct):
    """One added route's share, what the part does anyway taken off; and its memory."""

    system: str
    size: int
    part: str
    routes: int
    cpu_ms: float
    disk_kib: float
    written_kib: float
    # What the part does anyway.
    idle_cpu_ms_per_s: float
    idle_disk_kib_per_s: float
    rss_mib: float
    pss_mib: float
    reloads: int = 0


class ColdStart(msgspec.Struct):
    """HAProxy alone, from its execution on, with what the product left on disk."""

    system: str
    size: int
    sampled: int
    first_s: float
    sampled_s: float
    # Asked one after another, once the sample was served.
    unserved: int
    https: bool
    # What HAProxy had used by then: on a busy machine it says more than the time.
    cpu_s: float


class DataPath(msgspec.Struct):
    """Requests a second and latencies, a value a round."""

    system: str
    size: int
    connections: int
    rates: list[float] = []
    p50_ms: list[float] = []
    p99_ms: list[float] = []
    errors: int = 0


class DataPlane(msgspec.Struct):
    """On a Data Plane API: one route after the other, and a hundred at once.

    `burst_s` until all of those were live, `written_s` until the files had them. `unserved` of all
    routes HAProxy alone didn't serve, once everything had been killed and it was started.
    """

    system: str
    size: int
    live_ms: list[float] = []
    burst_s: float | None = None
    written_s: float | None = None
    unserved: int | None = None


class Results(msgspec.Struct):
    """Everything; each series replaces what an earlier run of it found."""

    machine: Machine
    versions: dict[str, str] = {}
    # By series: when it began, its minutes, and how it was asked for.
    runs: dict[str, dict[str, Any]] = {}
    live: list[Live] = []
    steps: list[Steps] = []
    throughput: list[Throughput] = []
    cost: list[Cost] = []
    coldstart: list[ColdStart] = []
    datapath: list[DataPath] = []
    dataplane: list[DataPlane] = []
    # Systems that aren't here, and why; by series.
    left_out: dict[str, dict[str, str]] = {}


def load(path: Path) -> Results:
    """The results of a file, or none yet."""
    if not path.exists():
        return Results(machine())
    return msgspec.json.decode(path.read_bytes(), type=Results)


def save(results: Results, path: Path) -> None:
    """Write them, one line a measurement, so that a change of one shows as such."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(results), indent=1).decode()
    # Lists of numbers in one line.
    text = re.sub(r"\[\s+([-\d.,\s]+?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    path.write_text(text + "\n")


def machine() -> Machine:
    """This one."""
    cpu = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    total = re.search(r"^MemTotal: +(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return Machine(
        processor=cpu[1] if cpu else platform.machine(),
        cores=os.cpu_count() or 1,
        memory_gib=round(int(total[1]) / (1 << 20), 1) if total else 0.0,
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
    )


def now() -> str:
    """The time, for `runs`."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def is_ours(system: str) -> bool:
    """Whether a system or a peer of this name, such as `ours:3.2`, is this product."""
    return system.startswith("ours")
