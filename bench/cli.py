"""The command line: one subcommand a series, `all` of them, and the report."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from bench import coldstart, cost, datapath, dataplane, live, steps, throughput
from bench.fleet import Options, default_peers, say
from bench.report import publish
from bench.results import Results, load, machine, now, save

Runner = Callable[[Results, Options], dict[str, str]]

ROOT = Path(__file__).parents[1]
OUT = ROOT / ".reports" / "bench.json"

SERIES: dict[str, Runner] = {
    "live": live.run,
    "steps": steps.run,
    "throughput": throughput.run,
    "cost": cost.run,
    "coldstart": coldstart.run,
    "datapath": datapath.run,
    "dataplane": dataplane.run,
}
# The full run. `live` alone is also measured at 100,000 routes, where only ours is left.
FULL = Options(sizes=(0, 1000, 10_000, 50_000))
BIGGEST = 100_000
QUICK = Options(sizes=(0, 200), seconds=6.0, rounds=2, new_profiles=3, bulk=300, patience=30.0)


def _numbers(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    try:
        return tuple(int(part.replace("_", "")) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter("numbers with commas between them, such as 0,1000") from error


def _names(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(value.split(","))


_OPTIONS = (
    click.option("--peers", callback=_names, help="Such as ours:2.8,ours:3.4,caddy; default: all."),
    click.option("--sizes", callback=_numbers, help="Numbers of routes, such as 0,1000."),
    click.option("--seconds", type=float, help="Of each system at each size."),
    click.option("--rounds", type=int, help="Turns that the seconds are divided into."),
    click.option("--rate", type=float, help="Routes a second at most in `live`."),
    click.option("--new-profiles", type=int, help="Routes with a new profile in `live`."),
    click.option("--bulk", type=int, help="Routes at once in `throughput`."),
    click.option("--patience", type=float, help="Seconds to wait for one route."),
    click.option(
        "--preload", type=click.Choice(["auto", "api", "rows"]), help="How ours is filled."
    ),
    click.option("--quick", is_flag=True, help="A few minutes, to see it work: no real figures."),
    click.option(
        "--out",
        type=click.Path(path_type=Path, dir_okay=False),
        default=OUT,
        help="The file with the results; a series replaces what is there of it.",
    ),
)


def _measuring(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group()
def main() -> None:
    """Benchmarks of the front server, beside other proxies."""


def _add(name: str, runner: Runner) -> None:
    @_measuring
    def command(out: Path, *, quick: bool, **given: Any) -> None:
        options = chosen(name, given, quick=quick)
        _measure({name: runner}, {name: options}, out)

    module = sys.modules[runner.__module__]
    main.command(name, help=(module.__doc__ or "").partition("\n")[0])(command)


for _name, _runner in SERIES.items():
    _add(_name, _runner)


@main.command("all")
@_measuring
def everything(out: Path, *, quick: bool, **given: Any) -> None:
    """Every series, one after another."""
    _measure(SERIES, {name: chosen(name, given, quick=quick) for name in SERIES}, out)


@main.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True), default=OUT)
def report(file: Path) -> None:
    """Renew docs/benchmarks.md, its plots and its copy of the results."""
    publish(load(file), ROOT / "docs")


def chosen(name: str, given: dict[str, Any], *, quick: bool) -> Options:
    """The options of a series: those given, else those of a full or a quick run."""
    options = QUICK if quick else FULL
    if name == "live" and not quick:
        options = msgspec.structs.replace(options, sizes=(*options.sizes, BIGGEST))
    values = {key: value for key, value in given.items() if value is not None}
    values.setdefault("peers", default_peers())
    return msgspec.structs.replace(options, **values)


def _measure(series: dict[str, Runner], options: dict[str, Options], out: Path) -> None:
    # So that every child is ended then, too.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    for name, runner in series.items():
        results = load(out)
        results.machine = machine()
        begun, clock = now(), time.monotonic()
        results.left_out[name] = runner(results, options[name])
        asked = msgspec.to_builtins(options[name])
        minutes = round((time.monotonic() - clock) / 60, 1)
        results.runs[name] = {"begun": begun, "minutes": minutes, **asked}
        save(results, out)
        say(f"{name} took {minutes} minutes; written to {out}")
