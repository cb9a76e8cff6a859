"""What the reconciler asks of whatever drives HAProxy.

One caller at a time: the reconciler is the only writer of its HAProxy.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from frontserver.model.routes import RouteKey
from frontserver.planning.actions import Action
from frontserver.planning.compiled import Certificate, CompiledConfig
from frontserver.planning.layout import Layout
from frontserver.planning.limits import RuntimeLimits
from frontserver.planning.plan import ReloadReason, RouteSteps
from frontserver.planning.running import Running, RunningServer


class State(msgspec.Struct, frozen=True):
    """A configuration and where its routes sit."""

    config: CompiledConfig
    layout: Layout

    def with_certificate(self, renewed: Certificate) -> State:
        """The same with this certificate in place of the one of its name."""
        return msgspec.structs.replace(self, config=self.config.with_certificate(renewed))


class Prepared(msgspec.Struct, frozen=True):
    """A configuration that HAProxy would load. `token` is the backend's name for it."""

    state: State
    token: str


class Look(msgspec.Struct, frozen=True):
    """A part of what HAProxy runs, and the worker that said so.

    `entries` holds what was read of (map, key) pairs, `None` for no such key; `counts` how many
    entries whole maps have, as far as HAProxy tells.
    """

    worker: int
    servers: Mapping[str, Mapping[str, RunningServer]]
    entries: Mapping[tuple[str, str], str | None]
    counts: Mapping[str, int]


class Leftovers(msgspec.Struct, frozen=True):
    """Workers that live on for their connections: how many, and the bytes of memory they hold."""

    count: int = 0
    memory: int = 0


class Backend(Protocol):
    """Drives one HAProxy. Everything raises `ProxyUnavailableError` while HAProxy isn't there."""

    async def start(self, empty: State) -> None:
        """Bring HAProxy up, or find the one that runs.

        A HAProxy that is started loads what was persisted last, else `empty`: the frontends and
        the standard pools without a route. Raises `ConfigRejectedError` if neither loads. One that
        isn't ours to start may run anything: `observe` tells.
        """
        ...

    async def observe(self) -> Running:
        """What HAProxy runs now, asked of HAProxy itself."""
        ...

    async def look(self, backends: Mapping[str, Sequence[tuple[str, str]]]) -> Look:
        """What HAProxy runs of these backends, and of the (map, key) pairs named beside each."""
        ...

    async def apply(self, steps: Sequence[RouteSteps]) -> Mapping[RouteKey, str]:
        """Carry out steps at run time and read back that they took effect.

        Returns the routes that failed, with HAProxy's reason; what such a route had before is
        untouched, and what was begun for it is undone. A weight may be set no sooner than `persist`
        returns.
        """
        ...

    async def perform(self, actions: Sequence[Action]) -> None:
        """Carry out actions that belong to no route; raises `CommandRefusedError`."""
        ...

    async def persist(self, state: State, steps: Sequence[RouteSteps] | None) -> None:
        """Let disk follow what was done at run time.

        `steps` says what differs from before; `None` means that everything may.
        """
        ...

    async def check(self, state: State, changed: Collection[RouteKey] | None = None) -> None:
        """Ask whether HAProxy would load this; changes nothing. `changed` as of `prepare`.

        Raises `ConfigRejectedError` or `TemplateError`. A reload may still be refused afterwards.
        """
        ...

    async def prepare(self, state: State, changed: Collection[RouteKey] | None = None) -> Prepared:
        """Have a configuration ready to load, found good by HAProxy; changes nothing that runs.

        `changed` names the routes in which it differs from what was persisted last; `None` means
        that any may. Everything else may be called meanwhile. Raises as `check` does.
        """
        ...

    async def discard(self, prepared: Prepared) -> None:
        """Forget a configuration that won't be loaded."""
        ...

    async def reload(
        self,
        state: State,
        reasons: Sequence[ReloadReason],
        prepared: Prepared | None = None,
        changed: Collection[RouteKey] | None = None,
    ) -> None:
        """Load a whole configuration without a failed request.

        With `prepared`, whatever was done at run time since, and what differs in the routes of
        `changed`, is added to it: `state` has the same frontends, certificates, profiles and
        sizes of pools. Raises `ConfigRejectedError` with HAProxy's message; what ran before then
        still runs.
        """
        ...

    async def idle(self, backends: Sequence[str]) -> frozenset[str]:
        """Those of the backends that are known to have no server and no stream left.

        One that isn't among them may be so a little later.
        """
        ...

    def on_change(self, callback: Callable[[], None]) -> None:
        """Have `callback` called when HAProxy's process was replaced or has gone."""
        ...

    @property
    def version(self) -> str | None:
        """HAProxy's version, once it is known."""
        ...

    @property
    def anything_leaves(self) -> bool:
        """Whether servers that routes left wait for their last streams; `idle` deletes them."""
        ...

    @property
    def disk_behind(self) -> float:
        """Seconds since the oldest change that isn't on disk yet; 0 if there is none."""
        ...

    @property
    def disk_problem(self) -> str | None:
        """Why disk stays behind, for people; `None` if writing works."""
        ...

    @property
    def growing(self) -> frozenset[str]:
        """The profiles, by id, of which HAProxy can make backends at run time."""
        ...

    @property
    def limits(self) -> RuntimeLimits:
        """What can't be done at run time."""
        ...

    @property
    def most_checks(self) -> int | None:
        """With how many servers' health checks HAProxy can start; `None` if that isn't known."""
        ...

    async def leftovers(self) -> Leftovers:
        """The workers that reloads replaced and that still serve; none if that can't be told."""
        ...

    async def close(self) -> None:
        """Flush what is pending and let go; HAProxy goes on."""
        ...
