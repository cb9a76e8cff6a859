"""Since when an agent's tokens count: asked for every request, and so remembered."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from frontserver.model.names import AgentId
from frontserver.storage.agents import AgentRepository
from frontserver.storage.engine import Database

# How long another process's change of an agent may go unnoticed.
_SECONDS = 1.0


class _Known(msgspec.Struct, frozen=True):
    valid_after: float
    until: float


class TokenValidity:
    """Remembers `tokens_valid_after` of agents, for a second at most.

    A revocation through this process counts at once, that is before whoever asked for it has
    their answer:

    - Every change of an agent goes through `AgentRepository`, which notes the agent in its
      session; the database announces it in the event loop after the commit and before `write`
      returns, even if the caller is gone by then. What is remembered is forgotten then.
    - A reader may have seen the state before that commit, and come back after the announcement.
      It doesn't store what it saw if anything was announced since it set out; one that comes
      back before the announcement has its value forgotten by it.

    Other processes (a command line) announce nothing here. That is what the second is for.
    `clock` gives seconds that only rise.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._known: dict[AgentId, _Known] = {}
        self._announcements = 0
        database.on_agents_changed(self._forget)

    async def since(self, agent_id: AgentId) -> float | None:
        """Unix seconds before which tokens are revoked; `None` if there is no such agent.

        Raises `StorageError`.
        """
        known = self._known.get(agent_id)
        now = self._clock()
        if known is not None and now < known.until:
            return known.valid_after
        set_out = self._announcements
        found = await self._database.read(
            lambda session: AgentRepository(session).tokens_valid_after(agent_id)
        )
        # No agent, nothing to remember: so there are never more entries than agents.
        if found is not None and set_out == self._announcements:
            self._known[agent_id] = _Known(found, now + _SECONDS)
        return found

    def _forget(self, changed: frozenset[AgentId]) -> None:
        self._announcements += 1
        for agent_id in changed:
            self._known.pop(agent_id, None)
