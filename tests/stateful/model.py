"""What visitors must see and what agents list, by what was asked for: a model without I/O.

It knows nothing of how the product does it: routes are a dictionary, and the longest path wins.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec

# Where HAProxy answers instead of an origin.
NOBODY, MAINTENANCE, REDIRECT = 404, 503, 301


class Place(msgspec.Struct, frozen=True, order=True):
    """Where a route begins: a subdomain, and a path below it."""

    name: str
    path: str = "/"

    @property
    def listed(self) -> str:
        """As lists tell places apart: the path only where there is one."""
        return self.name if self.path == "/" else self.name + self.path

    def holds(self, path: str) -> bool:
        """Whether a request for this path is below it, by whole segments."""
        return self.path == "/" or path == self.path or path.startswith(self.path + "/")


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A route as its agent asks for it; `targets` and `drained` are names of origins.

    `check` is a connection (`connect`) or a request to a path (`/…`); `header` is set on requests.
    """

    targets: tuple[str, ...]
    drained: tuple[str, ...] = ()
    maintenance: bool = False
    redirect: bool = False
    tls: bool = True
    check: str = ""
    header: tuple[str, str] | None = None
    balance: str = "roundrobin"

    def options(self, urls: dict[str, str]) -> dict[str, Any]:
        """The options of a request; what is as by default is left out, `urls` are by origin."""
        checks = {"": False, "connect": True}
        wanted: dict[str, tuple[Any, Any]] = {
            "maintenance": (self.maintenance, False),
            "redirectHttps": (self.redirect, False),
            "useTls": (self.tls, True),
            "check": (checks.get(self.check, {"path": self.check}), False),
            "balance": (self.balance, "roundrobin"),
            "headers": ({"request": {"set": dict([self.header])}} if self.header else None, None),
            "targets": ([self._target(name, urls) for name in self.targets], None),
        }
        if len(self.targets) == 1 and not self.drained:
            del wanted["targets"]
        return {name: value for name, (value, usual) in wanted.items() if value != usual}

    def _target(self, name: str, urls: dict[str, str]) -> dict[str, Any]:
        return {"url": urls[name]} | ({"drain": True} if name in self.drained else {})


class Publish(msgspec.Struct, frozen=True):
    """An agent asks for a route."""

    agent: str
    place: Place
    wish: Wish


class Remove(msgspec.Struct, frozen=True):
    """An agent asks for a route's removal."""

    agent: str
    place: Place


class PublishMongo(msgspec.Struct, frozen=True):
    """An agent asks for its MongoDB route, of which it has at most one."""

    agent: str
    target: str
    check: bool = False


class RemoveMongo(msgspec.Struct, frozen=True):
    """An agent asks for that one's removal."""

    agent: str


Change = Publish | Remove | PublishMongo | RemoveMongo


class Outcome(StrEnum):
    """What must become of a request."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REMOVED = "removed"
    TAKEN = "taken by another agent"
    UNKNOWN = "no such route of this agent"
    TWICE = "the same route twice in one request"

    @property
    def refused(self) -> bool:
        """Whether it changes nothing, and is answered so."""
        return self in {Outcome.TAKEN, Outcome.UNKNOWN, Outcome.TWICE}


class Sight(msgspec.Struct, frozen=True):
    """What a visitor gets: a status and, if an origin answers, one of these with these headers."""

    status: int
    origins: frozenset[str] = frozenset()
    headers: tuple[tuple[str, str], ...] = ()

    def fits(self, status: int, origin: str | None, headers: Iterable[tuple[str, str]]) -> bool:
        """Whether this is what a visitor got."""
        if status != self.status:
            return False
        if not self.origins:
            return origin is None
        return origin in self.origins and tuple(headers) == self.headers


class _Route(msgspec.Struct, frozen=True):
    agent: str
    wish: Wish


class Model:
    """All routes that there must be."""

    def __init__(self, before: Model | None = None) -> None:
        """As it was `before`, or empty."""
        self._routes: dict[Place, _Route] = dict(before._routes) if before else {}
        self._mongo: dict[str, PublishMongo] = dict(before._mongo) if before else {}
        self._former: dict[str, frozenset[str]] = dict(before._former) if before else {}

    def apply(self, change: Change) -> Outcome:
        """Make a change, unless it must be refused."""
        match change:
            case Publish():
                return self._publish(change)
            case Remove():
                return self._remove(change)
            case PublishMongo():
                before = self._mongo.get(change.agent)
                self._mongo[change.agent] = change
                return _published(before, change)
            case RemoveMongo():
                gone = self._mongo.pop(change.agent, None)
                return Outcome.REMOVED if gone else Outcome.UNKNOWN

    def apply_all(self, changes: list[Publish]) -> list[Outcome]:
        """Make all of them or, if any must be refused, none; then the outcomes are why."""
        places = [change.place for change in changes]
        if len(set(places)) < len(places):
            return [Outcome.TWICE]
        trial = Model(self)
        outcomes = [trial.apply(change) for change in changes]
        if refused := [outcome for outcome in outcomes if outcome.refused]:
            return refused
        return [self.apply(change) for change in changes]

    def after(self, change: Change) -> Model:
        """What it would be after this change."""
        other = Model(self)
        other.apply(change)
        return other

    def forget(self, agent: str) -> None:
        """The agent goes, and all its routes."""
        for place in self.listed(agent):
            self._remove(Remove(agent, place))
        self._mongo.pop(agent, None)

    @property
    def agents(self) -> list[str]:
        """Who has any route."""
        return sorted({*self._mongo, *(route.agent for route in self._routes.values())})

    def owner(self, name: str) -> str | None:
        """The agent that has a name: all paths of it are its own."""
        return next((r.agent for place, r in self._routes.items() if place.name == name), None)

    def listed(self, agent: str) -> dict[Place, Wish]:
        """The routes of an agent."""
        return {place: r.wish for place, r in self._routes.items() if r.agent == agent}

    def seen(self, name: str, path: str, scheme: str = "http") -> Sight:
        """What a visitor of this name and path must get."""
        found = [p for p in self._routes if p.name == name and p.holds(path)]
        if not found:
            return Sight(NOBODY)
        wish = self._routes[max(found, key=lambda place: len(place.path))].wish
        if scheme == "https" and not wish.tls:
            return Sight(NOBODY)
        if wish.maintenance:
            return Sight(MAINTENANCE)
        if scheme == "http" and wish.redirect:
            return Sight(REDIRECT)
        serving = frozenset(wish.targets) - frozenset(wish.drained)
        return Sight(200, serving, (wish.header,) if wish.header else ())

    def mongo(self, agent: str) -> PublishMongo | None:
        """The agent's MongoDB route: its target is what a client of its domain must meet."""
        return self._mongo.get(agent)

    def may_have_seen(self, name: str) -> frozenset[str]:
        """The origins that this name led to at any time: nobody may ever meet another one."""
        return self._former.get(name, frozenset())

    def _publish(self, change: Publish) -> Outcome:
        place = change.place
        if self.owner(place.name) not in {None, change.agent}:
            return Outcome.TAKEN
        before = self._routes.get(place)
        self._routes[place] = _Route(change.agent, change.wish)
        origins = frozenset(change.wish.targets)
        self._former[place.name] = self.may_have_seen(place.name) | origins
        return _published(before and before.wish, change.wish)

    def _remove(self, change: Remove) -> Outcome:
        route = self._routes.get(change.place)
        if route is None or route.agent != change.agent:
            return Outcome.UNKNOWN
        del self._routes[change.place]
        return Outcome.REMOVED


def _published(before: object, after: object) -> Outcome:
    if before is None:
        return Outcome.CREATED
    return Outcome.UNCHANGED if before == after else Outcome.UPDATED
