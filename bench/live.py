"""Series: from the request for a route to the first 200 through the proxy."""

from __future__ import annotations

import contextlib
import select
import time
from collections import deque
from collections.abc import Callable, Iterator

import msgspec

from bench.fleet import Fleet, Options, say
from bench.mix import PROFILES, STANDARD, Additions, Route
from bench.results import Live, Results, is_ours
from bench.settling import settle
from bench.statistics import percentile
from bench.systems.base import Addition, System
from bench.wire import ClosedError, Connection, Reply, request
from harness.errors import HarnessError

# Between two polls, in seconds: longer for those that take long anyway.
_PAUSE, _LONG_PAUSE = 0.0002, 0.001
_LONG = 0.05
# How many added routes may be there beside those that were loaded, before the oldest go again.
_LEAST_ADDED, _ADDED_SHARE = 100, 0.2
_BIGGEST_FOR_OTHERS = 50_000


class Sample(msgspec.Struct, frozen=True):
    """Seconds until the first 200, and until the request's own answer if there is one."""

    live: float | None
    answer: float | None


class Client:
    """Polls through a proxy on a kept connection."""

    def __init__(self, port: int) -> None:
        self._connection = Connection(port)

    def time(self, system: System, route: Route, limit: float) -> Sample:
        """Ask for a route and poll until it is there; `live` is `None` after `limit` seconds."""
        question = request("GET", "/", route.host)
        # The connection is there before the clock runs.
        self._ask(question)
        begun = time.perf_counter()
        addition = system.begin(route)
        live = answered = None
        while live is None and (passed := time.perf_counter() - begun) < limit:
            reply, early = self._ask_beside(question, addition)
            answered = answered or early
            if reply is not None and reply.status == 200 and reply.body == route.echo:
                live = time.perf_counter() - begun
            else:
                time.sleep(_PAUSE if passed < _LONG else _LONG_PAUSE)
        answered = answered or addition.finish()
        return Sample(live, answered - begun if answered else None)

    def _ask_beside(self, question: bytes, addition: Addition) -> tuple[Reply | None, float | None]:
        """One poll; and when the addition was answered, should that be meanwhile."""
        try:
            self._connection.send(question)
            answered = None
            if addition.connection is not None:
                ready, _, _ = select.select([self._connection, addition.connection], [], [])
                if addition.connection in ready:
                    answered = addition.finish()
            return self._connection.receive(), answered
        except ClosedError:
            return None, None

    def _ask(self, question: bytes) -> Reply | None:
        with contextlib.suppress(ClosedError):
            return self._connection.ask(question)
        return None

    def close(self) -> None:
        self._connection.close()


class Turn:
    """One system in the series at one size."""

    def __init__(
        self,
        system: System,
        size: int,
        fleet: Fleet,
        options: Options,
        *,
        profiles: tuple[int, ...] | None = None,
    ) -> None:
        self.system = system
        self.mix = Live(system.name, size, limit_s=options.patience)
        self.new = Live(system.name, size, "new profile", limit_s=options.patience)
        self._additions = Additions(fleet.origin.ports, prefix=f"t{size}x")
        self._profiles = profiles or (tuple(range(len(PROFILES))) if size else STANDARD)
        self._options = options
        self._most = max(_LEAST_ADDED, int(size * _ADDED_SHARE))
        self._added: deque[Route] = deque()

    def block(self, seconds: float) -> None:
        """Publish routes at the wanted rate, at least one, for so long."""
        pause = 1 / self._options.rate
        self._trim()
        routes = self._additions.take(max(1, int(seconds * self._options.rate)), self._profiles)
        self.system.prepare(routes)
        with self._client(self.mix) as client:
            end = time.perf_counter() + seconds
            for route in routes:
                begun = time.perf_counter()
                self._sample(client, route, self.mix)
                if (now := time.perf_counter()) >= end:
                    break
                time.sleep(max(0.0, begun + pause - now))

    def new_profiles(self, number: int) -> None:
        """Publish routes of profiles that nobody has used before."""
        routes = [self._additions.new_profile() for _ in range(number)]
        self.system.prepare(routes)
        with self._client(self.new) as client:
            for route in routes:
                self._sample(client, route, self.new)

    def more(self, number: int) -> list[Route]:
        """Routes that are yet to be added, by somebody else; `clean_up` takes them out too."""
        routes = self._additions.take(number, self._profiles)
        self._added.extend(routes)
        return routes

    def clean_up(self) -> None:
        """Take out what was added."""
        self.system.remove(list(self._added))
        self._added.clear()

    @contextlib.contextmanager
    def _client(self, into: Live) -> Iterator[Client]:
        client = Client(self.system.port)
        with contextlib.closing(client), self.system.watch() as watch:
            yield client
        if watch is not None:
            into.reload_ms += [round(seconds * 1000, 1) for seconds in watch.durations]

    def _trim(self) -> None:
        surplus = [self._added.popleft() for _ in range(len(self._added) - self._most)]
        if surplus:
            self.system.remove(surplus)

    def _sample(self, client: Client, route: Route, into: Live) -> None:
        before = self.system.reload_state(), self.system.reloading()
        try:
            sample = client.time(self.system, route, self._options.patience)
        except HarnessError as error:
            say(f"  {self.system.name}: {route.name} is lost: {error}")
            sample = Sample(None, None)
            # An answer may still be on its way.
            client.close()
        after = self.system.reload_state()
        self._added.append(route)
        if sample.live is None:
            into.lost += 1
            return
        if before[1] or before[0] != after:
            into.inside.append(len(into.live_ms))
        into.live_ms.append(round(sample.live * 1000, 3))
        if sample.answer is not None:
            into.answer_ms.append(round(sample.answer * 1000, 3))


def run(results: Results, options: Options) -> dict[str, str]:
    """Measure, and return the systems that were left out, and why."""
    results.live = []
    with Fleet(options.peers, preload=options.preload) as fleet:
        for size in sorted(options.sizes):
            if size > _BIGGEST_FOR_OTHERS:
                for system in list(fleet.systems):
                    if not is_ours(system.name):
                        fleet.systems.remove(system)
                        system.stop()
            say(f"live, {size:,} routes")
            turns = [Turn(system, size, fleet, options) for system in fleet.load(size)]
            results.versions |= {turn.system.name: turn.system.version for turn in turns}
            settle(turn.system for turn in turns)
            for _ in range(options.rounds):
                _each(fleet, turns, lambda turn: turn.block(options.seconds / options.rounds))
            ours = [turn for turn in turns if is_ours(turn.system.name)]
            _each(fleet, ours, lambda turn: turn.new_profiles(options.new_profiles))
            _each(fleet, turns, Turn.clean_up)
            for turn in turns:
                results.live += [live for live in (turn.mix, turn.new) if live.live_ms or live.lost]
                say(f"  {turn.system.name}: {_told(turn.mix)}")
        return fleet.left_out


def _each(fleet: Fleet, turns: list[Turn], do: Callable[[Turn], None]) -> None:
    """Every system's turn; one that fails has no other."""
    for turn in list(turns):
        if turn.system not in fleet.systems:
            continue
        try:
            do(turn)
        except (HarnessError, OSError, ClosedError) as error:
            fleet.give_up(turn.system, f"failed at {turn.mix.size:,} routes: {error}")


def _told(live: Live) -> str:
    if not live.live_ms:
        return "no sample"
    return (
        f"{len(live.live_ms)} samples, p50 {percentile(live.live_ms, 0.5):.2f} ms, "
        f"p99 {percentile(live.live_ms, 0.99):.2f} ms, {len(live.reload_ms)} reloads"
    )
