"""The tables of the report. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from bench.plots import number
from bench.results import Live, Results, is_ours
from bench.statistics import Summary, ratio, split, summary

_NOTHING = "Not measured yet."
_MISSING = "-"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: names to the left, figures to the right."""
    if not rows:
        return _NOTHING
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(results: Results) -> str:
    """Where, when, and with what."""
    found = results.machine
    rows = [
        ("processor", f"{found.processor}, {found.cores} cores"),
        ("memory", f"{found.memory_gib:g} GiB"),
        ("system", f"{found.kernel}, Python {found.python}"),
        *((f"`{name}`", version) for name, version in results.versions.items()),
        *((f"series `{name}`", _run(run)) for name, run in results.runs.items()),
        *(
            (f"left out of `{series}`", f"`{name}`: {reason}")
            for series, left_out in results.left_out.items()
            for name, reason in left_out.items()
        ),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _run(run: dict[str, object]) -> str:
    return (
        f"{run['begun']}, {run['minutes']} minutes; {run['seconds']:g} s a system and size "
        f"in {run['rounds']} turns"
    )


def live(results: Results) -> str:
    """Outside reload windows: every system beside ours."""
    rows = []
    for size in _sizes(results.live):
        found = [each for each in results.live if each.size == size and each.kind == "mix"]
        outside = {each.system: summary(split(each.live_ms, each.inside)[0]) for each in found}
        slowest = max((s.p50 for name, s in outside.items() if s and is_ours(name)), default=0.0)
        rows += [
            [
                f"{each.system}, {size:,} routes",
                *_quantiles(outside[each.system]),
                *_quantiles(_answers(each))[:2],
                _times(outside[each.system], slowest),
                str(each.lost or _MISSING),
            ]
            for each in found
        ]
    head = ("", "p50 ms", "p99 ms", "samples", "answer p50", "answer p99", "times ours", "given up")
    return table(head, rows)


def _answers(each: Live) -> Summary | None:
    """Of those outside reload windows, if each sample has an answer."""
    paired = len(each.answer_ms) == len(each.live_ms)
    return summary(split(each.answer_ms, each.inside)[0] if paired else each.answer_ms)


def _times(found: Summary | None, slowest: float) -> str:
    times = None if found is None else ratio(found.p50, slowest)
    return _MISSING if times is None else number(times)


def reloads(results: Results) -> str:
    """Ours: samples that met a reload, and those that needed one."""
    rows = []
    for each in (live for live in results.live if is_ours(live.system)):
        outside, inside = (summary(part) for part in split(each.live_ms, each.inside))
        if each.kind == "mix":
            name = f"{each.system}, {each.size:,} routes"
            rows.append([name, *_quantiles(outside), *_quantiles(inside), *_reloads(each)])
        else:
            name = f"{each.system}, {each.size:,} routes, new profile"
            found = _quantiles(summary(each.live_ms))
            rows.append([name, *[_MISSING] * 3, *found, *_reloads(each)])
    outside_head = ("outside p50 ms", "p99", "samples")
    inside_head = ("inside p50 ms", "p99", "samples")
    return table(("", *outside_head, *inside_head, "reloads", "p50 ms", "longest"), rows)


def _reloads(each: Live) -> list[str]:
    """How many there were, and how long they took."""
    found = summary(each.reload_ms)
    times = [_MISSING] * 2 if found is None else [number(found.p50), number(max(each.reload_ms))]
    return [str(len(each.reload_ms)), *times]


def steps(results: Results) -> str:
    """Milliseconds and share of each step."""
    names = list(dict.fromkeys(step for each in results.steps for step in each.steps))
    rows = [
        [
            f"{each.system}, {each.size:,} routes",
            *(_share(each.steps.get(step), each.total_ms) for step in names),
            number(each.total_ms),
            str(each.requests),
        ]
        for each in results.steps
    ]
    missing = sorted({step for each in results.steps for step in each.missing})
    note = f"\n\nNot found in the source any more: {', '.join(missing)}." if missing else ""
    return table(("", *names, "all ms", "requests"), rows) + note


def _share(milliseconds: float | None, total: float) -> str:
    if milliseconds is None:
        return _MISSING
    return f"{number(milliseconds)} ({(ratio(milliseconds * 100, total) or 0.0):.0f} %)"


def throughput(results: Results) -> str:
    """Sustained and at once."""
    rows = [
        [
            f"{each.system}, {each.kind}, {each.size:,} routes before",
            f"{each.routes:,}",
            number(each.seconds),
            number(each.routes / each.seconds),
            number(each.p50_ms),
            number(each.p99_ms),
            _MISSING if each.live_seconds is None else number(each.live_seconds),
            str(each.pending),
            str(each.refused + each.unserved),
        ]
        for each in results.throughput
    ]
    head = (
        "",
        "routes",
        "seconds",
        "routes/s",
        "p50 ms",
        "p99 ms",
        "s to all live",
        "pending",
        "failed",
    )
    return table(head, rows)


def cost(results: Results) -> str:
    """CPU and bytes for one route."""
    rows = [
        [
            f"{each.system}, {each.part}, {each.size:,} routes",
            number(each.cpu_ms),
            number(each.written_kib),
            number(each.disk_kib),
            number(each.idle_cpu_ms_per_s),
            str(each.reloads),
        ]
        for each in results.cost
    ]
    head = ("", "CPU ms", "KiB written", "KiB to disk", "idle CPU ms/s", "reloads")
    return table(head, rows)


def memory(results: Results) -> str:
    """MiB at each size."""
    sizes = sorted({each.size for each in results.cost})
    parts = list(dict.fromkeys((each.system, each.part) for each in results.cost))
    found = {(each.system, each.part, each.size): each.pss_mib for each in results.cost}
    rows = [
        [
            f"{system}, {part}",
            *(
                number(found[system, part, size]) if (system, part, size) in found else _MISSING
                for size in sizes
            ),
        ]
        for system, part in parts
    ]
    return table(("MiB (PSS)", *(f"{size:,} routes" for size in sizes)), rows)


def coldstart(results: Results) -> str:
    """HAProxy alone."""
    rows = [
        [
            f"{each.system}, {each.size:,} routes",
            number(each.first_s),
            number(each.sampled_s),
            number(each.cpu_s),
            f"{each.sampled:,}",
            f"{each.unserved:,}",
            "yes" if each.https else "no",
        ]
        for each in results.coldstart
    ]
    head = (
        "",
        "s to the first 200",
        "s to all sampled",
        "CPU s",
        "sampled",
        "not served",
        "HTTPS works",
    )
    return table(head, rows)


def datapath(results: Results) -> str:
    """Requests a second, the median round, beside the first of ours."""
    rows = []
    for size in sorted({each.size for each in results.datapath}):
        found = [each for each in results.datapath if each.size == size and each.rates]
        reference = next((median(each.rates) for each in found if is_ours(each.system)), 0.0)
        for each in found:
            times = ratio(median(each.rates), reference)
            rows.append(
                [
                    f"{each.system}, {size:,} routes",
                    number(median(each.rates)),
                    number(median(each.p50_ms)),
                    number(median(each.p99_ms)),
                    _MISSING if times is None else number(times),
                    str(each.errors),
                ]
            )
    return table(("", "requests/s", "p50 ms", "p99 ms", "times ours", "errors"), rows)


def _quantiles(found: Summary | None) -> list[str]:
    if found is None:
        return [_MISSING, _MISSING, "0"]
    return [number(found.p50), number(found.p99), str(found.count)]


def _sizes(lives: Sequence[Live]) -> list[int]:
    return sorted({each.size for each in lives})


def dataplane(results: Results) -> str:
    """On a Data Plane API: ours beside a transaction and a reload for each route."""
    rows = []
    for each in results.dataplane:
        found = summary(each.live_ms)
        rows.append(
            [
                f"{each.system}, {each.size:,} routes",
                *_quantiles(found),
                *(_MISSING if s is None else number(s) for s in (each.burst_s, each.written_s)),
                _MISSING if each.unserved is None else str(each.unserved),
            ]
        )
    head = (
        "",
        "p50 ms",
        "p99 ms",
        "samples",
        "100 at once: live s",
        "on disk s",
        "lost in a crash",
    )
    return table(head, rows)
