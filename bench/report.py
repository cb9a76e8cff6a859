"""Results → `docs/benchmarks.md` between its markers, plots, and a copy of the raw figures."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median

from bench import tables
from bench.plots import bars, lines
from bench.results import Live, Results, save
from bench.statistics import split, summary
from harness.errors import HarnessError

PAGE = "benchmarks.md"
_SECTION = re.compile(r"(<!-- bench:(?P<name>\w+) -->\n).*?(<!-- /bench:(?P=name) -->)", re.DOTALL)

SECTIONS: dict[str, Callable[[Results], str]] = {
    "machine": tables.machine,
    "live": tables.live,
    "reloads": tables.reloads,
    "steps": tables.steps,
    "throughput": tables.throughput,
    "cost": tables.cost,
    "memory": tables.memory,
    "coldstart": tables.coldstart,
    "datapath": tables.datapath,
    "dataplane": tables.dataplane,
}


def publish(results: Results, docs: Path) -> None:
    """Renew the page in `docs`, its plots and its copy of the results."""
    page = docs / PAGE
    page.write_text(filled(page.read_text(), results))
    directory = docs / "benchmarks"
    for name, plot in plots(results).items():
        directory.mkdir(exist_ok=True)
        (directory / name).write_text(plot)
    save(results, directory / "results.json")


def filled(text: str, results: Results) -> str:
    """The page with every marked section made anew; the prose around them stays.

    Raises `HarnessError` if it hasn't each section once.
    """
    found = [match["name"] for match in _SECTION.finditer(text)]
    if sorted(found) != sorted(SECTIONS):
        raise HarnessError(f"the page has the sections {found}, and needs {list(SECTIONS)}")
    return _SECTION.sub(
        lambda match: f"{match[1]}{SECTIONS[match['name']](results).strip()}\n{match[3]}", text
    )


def plots(results: Results) -> dict[str, str]:
    """The plots by file name."""
    mixed = [live for live in results.live if live.kind == "mix" and live.live_ms]
    sizes = sorted({live.size for live in mixed})
    names = list(dict.fromkeys(live.system for live in mixed))
    made = {
        f"live-{name}.svg": lines(
            f"From the request to the first 200, {words}",
            "ms",
            sizes,
            {system: [_quantile(mixed, system, size, name) for size in sizes] for system in names},
        )
        for name, words in (("p50", "median"), ("p99", "99th percentile"))
    }
    largest = max((found.size for found in results.datapath), default=0)
    rates = _best(
        (found.system, median(found.rates))
        for found in results.datapath
        if found.size == largest and found.rates
    )
    made["datapath.svg"] = bars(f"Requests a second with {largest:,} routes", "/s", rates)
    return made


def _best(values: Iterable[tuple[str, float]]) -> dict[str, float]:
    return dict(sorted(values, key=lambda item: -item[1]))


def _quantile(live: Sequence[Live], system: str, size: int, name: str) -> float | None:
    for each in live:
        if (each.system, each.size) == (system, size):
            # Reload windows are told of in the table.
            found = summary(split(each.live_ms, each.inside)[0])
            return None if found is None else getattr(found, name)
    return None
