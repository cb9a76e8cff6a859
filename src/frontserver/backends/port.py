"""What the reconciler asks of whatever drives HAProxy.

One caller at a time: the reconciler is the only writer of its HAProxy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from frontserver.model.routes import RouteKey
from frontserver.planning.actions import Action
from frontserver.planning.compiled import CompiledConfig
from frontserver.planning.layout import Layout
from frontserver.planning.plan import ReloadReason, RouteSteps
from frontserver.planning.running import Running


class State(msgspec.Struct, frozen=True):
    """A configuration and where its routes sit."""

    config: CompiledConfig
    layout: Layout


class Backend(Protocol):
    """Drives one HAProxy. Everything raises `ProxyUnavailableError` while HAProxy isn't there."""

    async def start(self, empty: State) -> None:
        """Bring HAProxy up, or find the one that runs.

        A HAProxy that is started loads what was persisted last, else `empty`: the frontends and
        the standard pools without a route. Raises `ConfigRejectedError` if neither loads.
        """
        ...

    async def observe(self) -> Running:
        """What HAProxy runs now, asked of HAProxy itself."""
        ...

    async def apply(self, steps: Sequence[RouteSteps]) -> Mapping[RouteKey, str]:
        """Carry out steps at run time and read back that they took effect.

        Returns the routes that failed, with HAProxy's reason; what such a route had before is
        untouched, and what was begun for it is undone.
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

    async def check(self, state: State) -> None:
        """Ask whether HAProxy would load this; changes nothing.

        Raises `ConfigRejectedError` or `TemplateError`. A reload may still be refused afterwards.
        """
        ...

    async def reload(self, state: State, reasons: Sequence[ReloadReason]) -> None:
        """Load a whole configuration without a failed request.

        Raises `ConfigRejectedError` with HAProxy's message; what ran before then still runs.
        """
        ...

    async def idle(self, backends: Sequence[str]) -> frozenset[str]:
        """Those of the backends that have no server and no stream left."""
        ...

    def on_change(self, callback: Callable[[], None]) -> None:
        """Have `callback` called when HAProxy's process was replaced or has gone."""
        ...

    @property
    def version(self) -> str | None:
        """HAProxy's version, once it is known."""
        ...

    async def close(self) -> None:
        """Flush what is pending and let go; HAProxy goes on."""
        ...
