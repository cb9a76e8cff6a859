"""Filling the product with routes before anything is measured.

By its API, or where that takes too long, by rows copied in its database while it is stopped: one
route of each profile is published, and its rows are the pattern of the others. Nothing else here
knows the tables, and of them only how a route, its revision and its audit row belong together.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from bench.clients import send_all
from bench.mix import Route
from bench.systems.base import wait_served
from harness.errors import HarnessError
from harness.frontserver import FrontServer

# More than these at once are copied, if it wasn't said how.
_BY_API = 2000
_CONNECTIONS = 16
_SECONDS = 900.0


class Loadable(Protocol):
    """The product, as far as it is needed here."""

    front: FrontServer
    port: int

    def prepare(self, routes: Sequence[Route]) -> None: ...
    def publishing(self, route: Route, *, wait: int | None = None) -> bytes: ...
    def halt(self) -> None: ...
    def resume(self) -> None: ...


class Preloader:
    """`method` is `api`, `rows`, or `auto`: rows for more than a few."""

    def __init__(self, system: Loadable, method: str = "auto") -> None:
        self._system = system
        self._method = method
        # A route of each profile that was published, whose rows are copied.
        self._patterns: dict[int, Route] = {}

    def load(self, routes: Sequence[Route]) -> None:
        """Have these routes stored and served, beside those that are there."""
        if not routes:
            return
        by_rows = self._method == "rows" or (self._method == "auto" and len(routes) > _BY_API)
        if by_rows:
            self._by_rows(routes)
        else:
            self._by_api(routes)
        wait_served(self._system.port, routes, seconds=_SECONDS)
        self._system.front.wait_ready(_SECONDS)

    def _by_api(self, routes: Sequence[Route]) -> None:
        self._system.prepare(routes)
        requests = (self._system.publishing(route, wait=0) for route in routes)
        port = self._system.front.api_port
        load = asyncio.run(send_all(port, requests, connections=_CONNECTIONS))
        if load.refused:
            raise HarnessError(f"{load.refused} of {len(routes)} routes were refused")

    def _by_rows(self, routes: Sequence[Route]) -> None:
        first = {route.profile: route for route in reversed(routes)}
        # Agents that were copied have no tokens: nothing can be published for them.
        missing = {each: route for each, route in first.items() if each not in self._patterns}
        if missing:
            self._by_api(list(missing.values()))
        self._patterns |= missing
        published = {route.name for route in missing.values()}
        self._system.halt()
        database = self._system.front.state_dir / "state.sqlite3"
        others = [each for each in routes if each.name not in published]
        copy_rows(database, self._patterns, others)
        self._system.resume()


def copy_rows(database: Path, patterns: dict[int, Route], routes: Iterable[Route]) -> None:
    """Store routes as the API would have stored them; each after the pattern of its profile."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.row_factory = sqlite3.Row
        rows = {profile: _Rows(connection, route) for profile, route in patterns.items()}
        known = {row[0] for row in connection.execute("SELECT agent_id FROM agents")}
        (number,) = connection.execute("SELECT max(number) FROM revisions").fetchone()
        for number, route in enumerate(routes, number + 1):  # noqa: B020 - goes on from there
            pattern = rows[route.profile]
            if route.agent not in known:
                _insert(connection, "agents", {**pattern.agent, "agent_id": route.agent})
                known.add(route.agent)
            pattern.copy(connection, route, number)


class _Rows:
    """The rows of one route that the product stored itself."""

    def __init__(self, connection: sqlite3.Connection, route: Route) -> None:
        self.route = _row(connection, "routes", "name", route.name)
        self.agent = _row(connection, "agents", "agent_id", route.agent)
        self._revision = _row(connection, "revisions", "number", self.route["revision"])
        self._audit = _row(connection, "audit", "revision", self.route["revision"])

    def copy(self, connection: sqlite3.Connection, route: Route, number: int) -> None:
        request = {
            **json.loads(self.route["request"]),
            "agentId": route.agent,
            "subdomain": route.name,
            "targetUrl": f"http://127.0.0.1:{route.port}",
        }
        text = json.dumps(request, separators=(",", ":"), sort_keys=True)
        revision = {**self._revision, "number": number, "subject": f"http:{route.name}"}
        _insert(connection, "revisions", revision)
        _insert(connection, "audit", {**self._audit, "revision": number})
        stored = {"name": route.name, "agent_id": route.agent, "request": text, "revision": number}
        _insert(connection, "routes", {**self.route, **stored})


def _row(connection: sqlite3.Connection, table: str, column: str, value: object) -> dict[str, Any]:
    query = f"SELECT * FROM {table} WHERE {column} = ?"  # noqa: S608 - names of our own
    row = connection.execute(query, (value,)).fetchone()
    if row is None:
        raise HarnessError(f"there is no row of {table} with {column} {value}")
    return dict(row)


def _insert(connection: sqlite3.Connection, table: str, row: dict[str, Any]) -> None:
    marks = ", ".join("?" * len(row))
    statement = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})"  # noqa: S608
    connection.execute(statement, tuple(row.values()))
