"""A stack that is made to suffer: what was promised to its agent, what it says, when it is well.

with Patient(stack) as patient:
    patient.publish("shop", origin)
    stack.dataplane.kill()
    patient.until_it_says("can't be reached")
    stack.dataplane.start()
    seconds = patient.healed(10)
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from harness.dataplane import DataPlane
from harness.errors import HarnessError
from harness.frontserver import APP_DOMAIN
from harness.origin import Origin
from harness.polling import until
from harness.stack import Stack
from harness.visitors import Visit, Visitors

_VERSION = re.compile(r"^# _version=(\d+)$", re.MULTILINE)
# In the file, or in the pools file, which the file chooses a part of.
_LABEL = re.compile(r"^(?:backend fs_rev_|\s+setenv FS_POOLS )(\d{6,}-\S+)", re.MULTILINE)
_BEHIND = re.compile(r"^frontserver_disk_behind_seconds (\S+)$", re.MULTILINE)


class Patient:
    """One agent's routes: some that nobody touches, visited all along, and those that change.

    A promise is what the last answer with 2xx to a request about a name said: the origin, `None`
    for a name that was removed. A request that nobody answered may have been stored or not, until
    `ask` has told. The names of an agent's routes begin with its id. `said` is what `until_it_says`
    heard last.
    """

    def __init__(self, stack: Stack, *, untouched: int = 4, agent_id: str = "patient") -> None:
        self.stack = stack
        self.agent = stack.registered(agent_id)
        self.promises: dict[str, str | None] = {}
        self.said = ""
        self._unknown: dict[str, set[str | None]] = {}
        self._origins = {name: stack.origin(f"{agent_id}-{name}") for name in ("a", "b")}
        quiet = self._origins["a"]
        self.untouched = [f"{agent_id}-untouched-{number}" for number in range(untouched)]
        for number, name in enumerate(self.untouched):
            options: dict[str, Any] = {"check": True} if number == 1 else {}
            self.publish(name, quiet, **options)
        self._visits = [Visit(f"{name}.{APP_DOMAIN}", quiet.name) for name in self.untouched]
        self.visitors = self._new_visitors()

    def _new_visitors(self) -> Visitors:
        return Visitors(self.stack.front.http_port, self._visits)

    @property
    def dataplane(self) -> DataPlane:
        """The Data Plane of its stack; raises `HarnessError` if it has none."""
        if self.stack.dataplane is None:
            raise HarnessError("this stack has no Data Plane")
        return self.stack.dataplane

    def origin(self, name: str) -> Origin:
        """One of its origins: `a` or `b`."""
        return self._origins[name]

    def __enter__(self) -> Self:
        """Visit the untouched routes inside the block; there may be one after the other."""
        self.visitors = self._new_visitors()
        self.visitors.__enter__()
        self.visitors.wait_for(2 * len(self.untouched))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.visitors.__exit__(kind, error, trace)

    # --- what is asked for ---

    def publish(self, name: str, origin: Origin, *, wait: int = 15, **options: Any) -> Any:
        """Ask for a route; its answer, which must be a promise (201, 200, 202)."""
        answer = self.agent.api.http(name, origin.url, wait=wait, **options)
        answer.raise_for_status()
        self.promises[name] = origin.name
        return answer.json()

    def remove(self, name: str, *, wait: int = 15) -> Any:
        """Ask for a route's removal; its answer, which must be a promise."""
        answer = self.agent.api.remove(name, wait=wait)
        answer.raise_for_status()
        self.promises[name] = None
        return answer.json()

    def attempt(self, name: str, origin: Origin | None, *, wait: int = 1, **options: Any) -> bool:
        """Ask for a route or its removal while anything may fail; whether it is a promise."""
        may_be = self._unknown.setdefault(name, {self.promises.get(name)})
        may_be.add(origin.name if origin else None)
        try:
            if origin is None:
                self.remove(name, wait=wait)
            else:
                self.publish(name, origin, wait=wait, **options)
        except httpx.HTTPStatusError as error:
            if error.response.status_code == 404 and origin is None:
                # An earlier removal that nobody answered was done.
                self.promises[name] = None
                del self._unknown[name]
                return True
            if error.response.status_code < 500:
                raise HarnessError(f"{name}: {error.response.text}") from error
            return False
        except httpx.TransportError:
            return False
        del self._unknown[name]
        return True

    def ask(self) -> None:
        """Let the front server tell what became of requests that it never answered.

        Raises `HarnessError` if it is something that nobody asked for.
        """
        listed = self.agent.api.routes()
        by_url = {origin.url: origin.name for origin in self._origins.values()}
        for name, may_be in self._unknown.items():
            route = listed.get(f"{name}.{APP_DOMAIN}")
            found = by_url[route["targetUrl"].rstrip("/")] if route else None
            if found not in may_be:
                raise HarnessError(f"{name} leads to {found}; asked for was one of {may_be}")
            self.promises[name] = found
        self._unknown.clear()

    # --- what it says ---

    def reasons(self) -> str:
        """Why it isn't ready, empty if it is; for one that doesn't answer `no answer`."""
        try:
            answer = self.stack.client.get(f"{self.stack.front.api_url}/health/ready")
        except httpx.TransportError:
            return "no answer"
        return "" if answer.status_code == 200 else "; ".join(answer.json()["reasons"])

    def warnings(self) -> list[str]:
        """What it says is to be mended, though it stops nothing."""
        answer = self.stack.client.get(f"{self.stack.front.api_url}/health/ready")
        return list(answer.json()["haproxy"]["warnings"])

    def until_it_says(self, words: str) -> str:
        """Wait until these words are among its reasons for not being ready; all of them."""
        self.said = until(
            f"it says {words!r}",
            lambda: said if words in (said := self.reasons()) else None,
            detail=lambda: f"it says {self.reasons()!r}\n{self.stack.front.tail()}",
        )
        return self.said

    def route(self, name: str) -> Any:
        """What it says of one route: `status`, `reason` and more."""
        return self.agent.api.routes()[f"{name}.{APP_DOMAIN}"]

    # --- how it is ---

    def broken(self, names: Sequence[str] | None = None) -> list[str]:
        """The promises that HAProxy doesn't keep now, each with what it answers instead."""
        found = []
        for name in names or tuple(self.promises):
            wanted = self.promises[name]
            try:
                answer = self.stack.get(name)
                seen = answer.json()["origin"] if answer.status_code == 200 else None
                said = str(seen or answer.status_code)
                if seen != wanted or (wanted is None and answer.status_code != 404):
                    found.append(f"{name} leads to {said}, not to {wanted}")
            except httpx.TransportError as error:
                found.append(f"{name} isn't answered: {error!r}")
        return found

    def healed(self, seconds: float = 10.0, *, since: float | None = None) -> float:
        """Wait until it is ready and keeps all promises, route by route; the seconds it took.

        They count from `since` (`time.monotonic`), when what ends the fault began; else from now.
        """
        began = time.monotonic() if since is None else since

        def is_well() -> bool:
            if said := self.reasons():
                raise NotYet(said)
            if self._unknown:
                self.ask()
            if wrong := self.broken():
                raise NotYet("; ".join(wrong[:5]))
            return True

        left = began + seconds - time.monotonic()
        until(f"all is well {seconds:g} s after", is_well, seconds=left,
              quiet=(NotYet, httpx.HTTPError), detail=self.stack.front.tail)  # fmt: skip
        return time.monotonic() - began

    def until_written(self, seconds: float = 10.0) -> None:
        """Wait until the files have all that runs."""

        def is_written() -> bool:
            page = self.stack.client.get(f"{self.stack.front.api_url}/metrics")
            found = _BEHIND.search(page.text)
            return found is not None and float(found[1]) == 0

        until(
            "the files have all",
            is_written,
            seconds=seconds,
            quiet=(httpx.HTTPError,),
            detail=self.stack.front.tail,
        )

    def disagreement(self) -> str:
        """How memory, disk and process of the Data Plane's HAProxy differ; empty if they don't."""
        with self.dataplane.client() as client:
            raw = client.get("/services/haproxy/configuration/raw").raise_for_status()
            memory = client.get("/services/haproxy/configuration/version").json()
            disk = _VERSION.search(raw.text)
            if disk is None or int(disk[1]) != memory:
                return f"memory has version {memory}, disk {disk and disk[1]}"
            labels = _LABEL.findall(raw.text)
            if len(labels) != 1:
                return f"the file has the labels {labels}"
            path = f"/services/haproxy/runtime/backends/fs_rev_{labels[0]}/servers"
            if client.get(path).status_code != 200:
                return f"HAProxy doesn't run {labels[0]}"
        return ""


class NotYet(Exception):  # noqa: N818 - not an error: ask again
    """It isn't well."""
