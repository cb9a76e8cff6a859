"""A stack with agents and origins: changes are asked for here, and what is seen is compared."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, NoReturn

import httpx

from harness.errors import HarnessError
from harness.frontserver import ADMIN_TOKEN, APP_DOMAIN, MONGO_DOMAIN
from harness.polling import until
from harness.stack import Stack
from harness.versions import Exchange
from tests.stateful.model import (
    Change,
    Model,
    Outcome,
    Place,
    Publish,
    PublishMongo,
    Remove,
    RemoveMongo,
    Wish,
)
from tests.stateful.visits import visit, visit_mongodb

AGENTS = ("ann", "bob", "cay")
NAMES = ("one", "two", "three")
PATHS = ("/", "/a", "/a/b")
# Of each path something below it, and what only looks as if it were.
VISITED = ("/", "/a", "/a/x", "/ax", "/a/b", "/a/b/c")
# Seconds that an answer may wait for HAProxy, and in which all is well again after a fault.
PATIENCE = 20
SOON = 30.0

_BEHIND = re.compile(r"^frontserver_disk_behind_seconds (\S+)$", re.MULTILINE)

_ACCEPTED = {
    Outcome.CREATED: {201},
    Outcome.UPDATED: {200},
    Outcome.UNCHANGED: {200},
    Outcome.REMOVED: {200},
    Outcome.TAKEN: {409},
    Outcome.UNKNOWN: {404},
    Outcome.TWICE: {422},
}


class Site:
    """A stack that examples share, one after the other, as long as none of them fails.

    `sound` is whether what was done to it is known to be over; another example needs another site
    otherwise. `edited` is whether somebody changed files in this example.
    """

    def __init__(self, stack: Stack, exchange: Exchange) -> None:
        self.stack = stack
        self.exchange = exchange
        self.agents = {name: stack.registered(name) for name in AGENTS}
        self.origins = {
            name: stack.origin(name)
            for name in (f"{agent}-{number}" for agent in AGENTS for number in (1, 2))
        }
        certificate = stack.ca.issue(f"*.{MONGO_DOMAIN}")
        # Stand in for mongods: what is told apart is by whose TLS a client is met.
        self.mongods = {
            name: stack.origin(name, tls=certificate)
            for name in (f"{agent}-mongo-{number}" for agent in AGENTS for number in (1, 2))
        }
        self.urls = {name: origin.url for name, origin in self.origins.items()}
        self._lock = Lock()
        self.log = stack.directory / "steps.log"
        self.model = Model()
        self.sound = True
        self.edited = False
        # Whether HAProxy was seen to do all that was asked for up to now.
        self.settled = False
        self.example = 0

    def note(self, text: str) -> None:
        """Add a line to the log of steps, which is kept as evidence."""
        with self.log.open("a") as log:
            log.write(f"{time.strftime('%H:%M:%S')} {text}\n")

    def begin(self) -> None:
        """Remove what the example before has left, and wait until the disk has forgotten it."""
        self.example += 1
        self.note(f"--- example {self.example}")
        for name, agent in self.agents.items():
            for listed in agent.api.routes().values():
                change: Change = RemoveMongo(name)
                if listed["type"] == "http":
                    change = Remove(name, Place(listed["subdomain"], listed.get("path", "/")))
                self._accept(Outcome.REMOVED, self._send(change, PATIENCE))
        self.model = Model()
        self.until_written()
        self.edited = False
        self.agree()

    # --- what is asked for ---

    def ask(self, change: Change, *, wait: int = PATIENCE) -> Outcome:
        """Ask for a change; the answer must be what the model says of it."""
        self.settled = False
        answer = self._send(change, wait)
        with self._lock:
            outcome = self.model.apply(change)
        self.note(f"{change} -> {outcome}")
        self._accept(outcome, answer, may_wait=wait < PATIENCE)
        return outcome

    def ask_together(self, changes: list[Publish], *, by: str | None) -> list[Outcome]:
        """Ask for many routes at once, as the operator or as the agent `by`."""
        self.settled = False
        body = {"routes": [self._body(change) for change in changes]}
        headers = {"Prefer": f"wait={PATIENCE}"}
        if by is None:
            headers["Authorization"] = f"Bearer {ADMIN_TOKEN}"
            url = f"{self.stack.front.api_url}/api/proxy/routes"
            answer = self.stack.client.post(url, json=body, headers=headers, timeout=60)
        else:
            client = self.agents[by].api.client
            answer = client.post("/api/proxy/routes", json=body, headers=headers)
        outcomes = self.model.apply_all(changes)
        self.note(f"together, by {by}: {changes} -> {outcomes}")
        if outcomes[0].refused:
            worst = {status for outcome in outcomes for status in _ACCEPTED[outcome]}
            if answer.status_code not in worst:
                self._wrong(f"refused, {outcomes}", answer)
            return outcomes
        told = [route["change"] for route in answer.json().get("routes", [])]
        active = answer.json().get("counts", {}).get("active")
        if (answer.status_code, told, active) != (200, outcomes, len(changes)):
            self._wrong(f"all active, {outcomes}", answer)
        return outcomes

    def ask_by_program(self, change: Publish) -> None:
        """The same by the agents' own program: an ordinary route of the whole domain."""
        agent = self.agents[change.agent]
        self.settled = False
        outcome = self.model.apply(change)
        self.note(f"by program: {change} -> {outcome}")
        options = change.wish.options(self.urls)
        url = self.urls[change.wish.targets[0]]
        try:
            answer = agent.program.http(change.place.name, url, **options)
        except HarnessError as error:
            if not outcome.refused:
                raise
            if "409" not in str(error) and "taken" not in str(error):
                raise
            return
        assert not outcome.refused, answer

    def ask_at_once(
        self, changes: Iterable[Iterable[Change]], meanwhile: Callable[[], None]
    ) -> None:
        """Ask for several rows of changes beside each other; none may depend on another row."""
        with ThreadPoolExecutor() as threads:
            rows = [threads.submit(self._ask_all, list(row)) for row in changes]
            meanwhile()
            for row in rows:
                row.result()

    def _ask_all(self, changes: list[Change]) -> None:
        for change in changes:
            self.ask(change, wait=2)

    def ask_until_cut(self, changes: Iterator[Change], cut: Callable[[], None], after: int) -> None:
        """Ask for one after the other; `cut` once so many are answered, whatever is under way.

        What wasn't answered may have been stored or not: the lists tell. Nothing else may be so.
        """
        answered = 0
        unanswered: Change | None = None

        def go_on() -> None:
            nonlocal answered, unanswered
            for change in changes:
                unanswered = change
                self.ask(change, wait=0)
                unanswered = None
                answered += 1

        with ThreadPoolExecutor(1) as thread:
            asking = thread.submit(go_on)
            until("some are answered", lambda: answered >= after or asking.done())
            cut()
            with contextlib.suppress(httpx.TransportError):
                asking.result()
        if unanswered is not None:
            self._find_out(unanswered)

    def _find_out(self, change: Change) -> None:
        before, after = self.model, self.model.after(change)
        wrong: dict[str, list[str]] = {}
        for name, self.model in (("done", after), ("not done", before)):
            wrong[name] = self._unlisted(any_status=True)
            if not wrong[name]:
                self.note(f"unanswered: {change} is {name}")
                return
        raise AssertionError(f"after an answer that never came to {change}: {wrong}")

    def leave(self, name: str) -> None:
        """An agent goes with all its routes, and comes back without any."""
        agent = self.agents[name]
        self.settled = False
        self.note(f"{name} leaves, and registers again")
        answer = agent.api.client.delete(f"/api/agents/{name}")
        if answer.status_code != 200:
            self._wrong("the agent is removed", answer)
        self.model.forget(name)
        agent.register_plainly()

    def _send(self, change: Change, wait: int) -> httpx.Response:
        api = self.agents[change.agent].api
        if isinstance(change, RemoveMongo):
            return api.remove(kind="mongodb", wait=wait)
        if isinstance(change, PublishMongo):
            port = self.mongods[change.target].port
            checked: dict[str, Any] = {"check": True} if change.check else {}
            return api.mongodb(port, wait=wait, **checked)
        place = change.place
        path = None if place.path == "/" else place.path
        if isinstance(change, Remove):
            return api.remove(place.name, path=path, wait=wait)
        body = self._body(change)
        options = body.get("options", {})
        return api.http(place.name, body.get("targetUrl"), path=path, wait=wait, **options)

    def _body(self, change: Publish) -> dict[str, Any]:
        place, options = change.place, change.wish.options(self.urls)
        body: dict[str, Any] = {"agentId": change.agent, "subdomain": place.name}
        if place.path != "/":
            body["path"] = place.path
        if "targets" not in options:
            body["targetUrl"] = self.urls[change.wish.targets[0]]
        return body | ({"options": options} if options else {})

    def _accept(self, outcome: Outcome, answer: httpx.Response, *, may_wait: bool = False) -> None:
        if outcome.refused:
            if answer.status_code not in _ACCEPTED[outcome]:
                self._wrong(outcome, answer)
            return
        if may_wait and answer.status_code == 202:
            return
        status = "removed" if outcome is Outcome.REMOVED else "active"
        code, told = answer.status_code, answer.json().get("status")
        if code not in _ACCEPTED[outcome] or told != status:
            self._wrong(outcome, answer)

    def _wrong(self, expected: str, answer: httpx.Response) -> NoReturn:
        raise AssertionError(f"expected: {expected}; {answer.status_code}: {answer.text}")

    # --- what is seen ---

    def agree(self) -> None:
        """Visitors and lists must find just what the model says, now."""
        if found := self.differences():
            raise AssertionError("\n".join(found))
        self.settled = True

    def agree_for_visitors(self) -> None:
        """The same for visitors alone, if it was so before: HAProxy serves without anybody."""
        if self.settled and (found := self._unseen()):
            raise AssertionError("\n".join(["HAProxy alone:", *found]))

    def differences(self) -> list[str]:
        """What isn't as the model says."""
        return [*self._unlisted(), *self._unseen()]

    def until_it_agrees(self, seconds: float = SOON) -> None:
        """Wait until all is as the model says, and the front server is ready.

        Meanwhile a visitor may find nothing, but nothing that was never there either.
        """

        def is_well() -> bool:
            if self.stack.dataplane is None or self.stack.dataplane.haproxy.runs:
                self._never_elsewhere()
            ready = self.stack.client.get(f"{self.stack.front.api_url}/health/ready")
            found = self.differences()
            if ready.status_code != 200 or found:
                raise NotYet("\n".join([ready.text[:500], *found[:8]]))
            return True

        began = time.monotonic()
        until(
            "HAProxy does what was asked for",
            is_well,
            seconds=seconds,
            quiet=(NotYet, httpx.HTTPError),
            detail=self.stack.front.tail,
        )
        self.settled = True
        self.note(f"all is well after {time.monotonic() - began:.2f} s")

    def until_written(self) -> None:
        """Wait until the files have all that runs."""

        def is_written() -> bool:
            page = self.stack.client.get(f"{self.stack.front.api_url}/metrics").text
            found = _BEHIND.search(page)
            return found is not None and float(found[1]) == 0

        until("the files have all", is_written, detail=self.stack.front.tail)

    def _unlisted(self, *, any_status: bool = False) -> list[str]:
        found = []
        for name, agent in self.agents.items():
            listed = agent.api.routes()
            mongo = listed.pop(agent.domain, None)
            found += self._misread_mongo(name, mongo, any_status=any_status)
            wanted = {
                f"{place.name}.{APP_DOMAIN}{place.listed.removeprefix(place.name)}": (place, wish)
                for place, wish in self.model.listed(name).items()
            }
            if listed.keys() != wanted.keys():
                found.append(f"{name} lists {sorted(listed)}, not {sorted(wanted)}")
                continue
            for key, (place, wish) in wanted.items():
                route = listed[key] | ({"status": "active"} if any_status else {})
                found += self._misread(key, route, place, wish)
        return found

    def _misread(self, key: str, route: dict[str, Any], place: Place, wish: Wish) -> list[str]:
        shown = (route["subdomain"], route.get("path", "/"), route["status"], route["options"])
        wanted = (place.name, place.path, "active", wish.options(self.urls))
        found = [f"{key} is listed as {shown}, not {wanted}"] if shown != wanted else []
        if "targets" not in wanted[3] and route["targetUrl"] != self.urls[wish.targets[0]]:
            found.append(f"{key} is listed with {route['targetUrl']}")
        return found

    def _misread_mongo(
        self, name: str, route: dict[str, Any] | None, *, any_status: bool
    ) -> list[str]:
        wanted = self.model.mongo(name)
        if route is None and wanted is None:
            return []
        if route is None or wanted is None:
            return [f"{name} lists the MongoDB route {route}, not {wanted}"]
        shown = (route["targetPort"], route["options"].get("check", False))
        if shown != (self.mongods[wanted.target].port, wanted.check):
            return [f"{name} lists the MongoDB route {route}, not {wanted}"]
        if route["status"] != "active" and not any_status:
            return [f"the MongoDB route of {name} is {route['status']}"]
        return []

    def _unseen(self) -> list[str]:
        found = [each for name in self.agents for each in self._unmet(name)]
        for name in NAMES:
            for path in VISITED:
                for scheme in ("http", "https"):
                    sight = self.model.seen(name, path, scheme)
                    met = visit(self.stack, name, path, scheme)
                    if not sight.fits(*met):
                        found.append(f"{scheme}://{name}{path} leads to {met}, not to {sight}")
        return found

    def _unmet(self, agent: str) -> list[str]:
        """A client of the agent's MongoDB domain must meet its target, or be refused."""
        route = self.model.mongo(agent)
        wanted = route and route.target
        met = visit_mongodb(self.stack, self.agents[agent].domain)
        return [] if met == wanted else [f"MongoDB of {agent} leads to {met}, not to {wanted}"]

    def _never_elsewhere(self) -> None:
        """While it heals: a name leads to nobody, or to where it led at some time."""
        if self.edited:
            return
        for name in NAMES:
            try:
                origin = visit(self.stack, name, "/", "http").origin
            except httpx.TransportError:
                continue
            if origin is not None and origin not in self.model.may_have_seen(name):
                raise AssertionError(f"{name} led to {origin}, which it never had")


class NotYet(Exception):  # noqa: N818 - not an error: ask again
    """Something isn't as it must be."""
