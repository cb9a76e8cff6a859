"""What every system can do: serve routes, take one more, lose one, and say what it runs."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

import msgspec

from bench.mix import Route
from bench.reloads import ReloadWatch
from bench.wire import Connection, Reply, request
from harness.errors import HarnessError, UnavailableError
from harness.polling import until

__all__ = ["Addition", "Done", "System", "UnavailableError", "Waiting", "is_served", "wait_served"]

_SAMPLE = 200


class Addition(Protocol):
    """A route that was asked for."""

    @property
    def connection(self) -> Connection | None:
        """Where the answer will come, while it is waited for."""
        ...

    def finish(self) -> float | None:
        """Read the answer; the time (`perf_counter`) when it was there, if this system answers."""
        ...


class Done:
    """A route was asked for in a way that has no answer: a file, a signal."""

    connection: Connection | None = None

    def finish(self) -> float | None:
        return None


class Waiting:
    """A route was asked for by an HTTP request."""

    def __init__(self, connection: Connection) -> None:
        self.connection: Connection | None = connection
        self._at: float | None = None

    def finish(self) -> float | None:
        """Raises `HarnessError` if the answer isn't 2xx."""
        if self.connection is not None:
            reply = self.connection.receive()
            self._at = time.perf_counter()
            self.connection = None
            require_success(reply)
        return self._at


class System(Protocol):
    """One system, on ports of its own. `port` is where it serves."""

    name: str
    port: int

    @property
    def version(self) -> str:
        """As it says itself."""
        ...

    def load(self, routes: Sequence[Route]) -> None:
        """Serve these routes, starting or restarting what is needed; wait until it does."""
        ...

    def prepare(self, routes: Sequence[Route]) -> None:
        """What has to be done before these can be added and timed."""
        ...

    def begin(self, route: Route) -> Addition:
        """Ask for one more route."""
        ...

    def remove(self, routes: Sequence[Route]) -> None:
        """Take routes out again; it needn't be fast."""
        ...

    def reload_state(self) -> Hashable:
        """Changes whenever a reload begins or ends; `None` where there are none to tell of."""
        ...

    def reloading(self) -> bool:
        """Whether a reload is under way."""
        ...

    def watch(self) -> AbstractContextManager[ReloadWatch | None]:
        """Within it, reloads are timed."""
        ...

    def processes(self) -> dict[str, tuple[int, ...]]:
        """The process ids of its parts, by what the part is called."""
        ...

    def stop(self) -> None:
        """End all its processes. Stopping twice is fine."""
        ...


class Without:
    """The parts of `System` that most others have no use for."""

    def prepare(self, routes: Sequence[Route]) -> None:
        """Nothing to prepare."""

    def reload_state(self) -> Hashable:
        return None

    def reloading(self) -> bool:
        return False

    def watch(self) -> AbstractContextManager[ReloadWatch | None]:
        return nullcontext()


class Place(msgspec.Struct, frozen=True):
    """Where a system may write, and the ports of the origin."""

    directory: Path
    origins: tuple[int, ...]


def require_success(reply: Reply) -> None:
    """Raise `HarnessError` unless the status is 2xx."""
    if not 200 <= reply.status < 300:
        raise HarnessError(f"refused with {reply.status}: {reply.body[:300]!r}")


def is_served(connection: Connection, route: Route) -> bool:
    """Whether the right origin answers under the route's name."""
    reply = connection.ask(request("GET", "/", route.host))
    return reply.status == 200 and reply.body == route.echo


def unserved(port: int, routes: Sequence[Route]) -> list[Route]:
    """Those that aren't served now, each asked once."""
    connection = Connection(port)
    try:
        return [route for route in routes if not is_served(connection, route)]
    finally:
        connection.close()


def wait_served(port: int, routes: Sequence[Route], *, seconds: float) -> None:
    """Wait until an even sample of the routes, the first and the last included, is served."""
    step = max(1, len(routes) // _SAMPLE)
    waiting = [*routes[::step], *routes[-1:]]

    def all_served() -> bool:
        waiting[:] = unserved(port, waiting)
        return not waiting

    until(f"{len(routes)} routes are served", all_served, seconds=seconds, quiet=(OSError,))
