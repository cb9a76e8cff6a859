"""The systems of a run: made, loaded, measured in turns, and ended for certain."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from bench import haproxies
from bench.mix import Route, base
from bench.origin import EchoOrigin
from bench.systems.base import Place, System
from bench.systems.caddy import Caddy
from bench.systems.dataplane import OursByDataPlane, Transactions
from bench.systems.nginx import Nginx
from bench.systems.ours import Ours
from bench.systems.runtime import RuntimeApi
from bench.systems.traefik import Traefik
from harness.errors import HarnessError, UnavailableError
from harness.processes import sweep

_OTHERS: dict[str, Callable[[Place], System]] = {
    "caddy": Caddy,
    "traefik": Traefik,
    "nginx": Nginx,
}
_VERSIONS = ("2.8", "3.2", "3.4")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to measure; `seconds` are of each system at each size, divided among `rounds`."""

    peers: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    seconds: float = 60.0
    rounds: int = 6
    rate: float = 25.0
    new_profiles: int = 10
    preload: str = "auto"
    bulk: int = 10_000
    # Where others are slower than this they aren't waited for.
    patience: float = 120.0


def default_peers() -> tuple[str, ...]:
    """Ours on the versions that are here, and everything that it is compared with."""
    known = haproxies.programs()
    labels = [label for label in _VERSIONS if label in known]
    ours = [f"ours:{label}" for label in labels]
    return (*ours, *(f"runtime:{label}" for label in labels[:1]), *_OTHERS)


def say(text: str) -> None:
    """Progress, to standard error."""
    print(text, file=sys.stderr, flush=True)


class Fleet:
    """A context manager: systems by name, `left_out` those that aren't here."""

    def __init__(self, peers: Sequence[str], *, preload: str = "auto") -> None:
        self.systems: list[System] = []
        self.left_out: dict[str, str] = {}
        self._peers = peers
        self._preload = preload
        self._directory = Path(tempfile.mkdtemp(prefix="bench-"))
        known = haproxies.programs()
        if not known:
            raise UnavailableError("no HAProxy is here, and the origin is one")
        self.origin = EchoOrigin(next(iter(known.values())), self._directory / "origin")

    def routes(self, size: int) -> list[Route]:
        """The routes that are loaded at a size."""
        return base(size, self.origin.ports)

    def place(self, name: str) -> Place:
        """A directory of its own for a system that the caller makes, loads and stops."""
        directory = self._directory / name.replace(":", "-")
        directory.mkdir()
        return Place(directory, self.origin.ports)

    def load(self, size: int) -> Iterator[System]:
        """Load each system in turn; one that fails is said so, and left out from then on."""
        routes = self.routes(size)
        for system in list(self.systems):
            say(f"  {system.name}: loading {size:,} routes")
            try:
                system.load(routes)
            except HarnessError as error:
                self.give_up(system, f"can't be loaded with {size:,} routes: {error}")
            else:
                yield system

    def give_up(self, system: System, reason: str) -> None:
        """Go on without it."""
        line = reason.splitlines()[0]
        say(f"  {system.name}: {reason}")
        self.left_out[system.name] = line
        self.systems.remove(system)
        system.stop()

    def __enter__(self) -> Self:
        self.origin.__enter__()
        try:
            for number, peer in enumerate(self._peers):
                self._add(peer, str(number))
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _add(self, peer: str, name: str) -> None:
        place = self.place(name)
        try:
            self.systems.append(make(peer, place, preload=self._preload))
        except UnavailableError as error:
            say(f"  {peer} is left out: {error}")
            self.left_out[peer] = str(error)

    def _close(self) -> None:
        for system in self.systems:
            system.stop()
        self.origin.__exit__(None, None, None)
        sweep(self._directory)
        shutil.rmtree(self._directory, ignore_errors=True)


def make(peer: str, place: Place, *, preload: str = "auto") -> System:
    """A system by its name, such as `ours:3.2` or `caddy`. Raises `UnavailableError`."""
    kind = peer.partition(":")[0]
    if kind in _OTHERS:
        return _OTHERS[kind](place)
    known = ("ours", "ours-dataplane", "runtime", "transaction")
    if kind not in known:
        raise UnavailableError(f"there is no {peer}: choose {', '.join([*known, *_OTHERS])}")
    label = haproxies.label(peer)
    program = haproxies.program(label)
    if kind == "ours-dataplane":
        return OursByDataPlane(place, label, program, preload=preload)
    if kind == "transaction":
        return Transactions(place, label, program)
    if kind == "runtime":
        return RuntimeApi(place, label, program)
    return Ours(place, label, program, preload=preload)
