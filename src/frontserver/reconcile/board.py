"""What is known of every route, and who waits to hear of it."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict

import msgspec

from frontserver.model.routes import RouteKey
from frontserver.model.status import PENDING, Health, RouteState, RouteStatus

# Removals are remembered for those who ask a moment later.
_REMEMBERED_REMOVALS = 10_000


class StatusBoard:
    """Statuses by route; `settle` waits for one, everything else returns at once."""

    def __init__(self) -> None:
        self._statuses: dict[RouteKey, RouteStatus] = {}
        self._removed: OrderedDict[RouteKey, int] = OrderedDict()
        self._waiters: dict[RouteKey, set[asyncio.Future[None]]] = {}
        self._unsaved: dict[RouteKey, RouteStatus] = {}
        self._suspended: str | None = None

    def get(self, key: RouteKey) -> RouteStatus:
        """The route's status; pending if nothing is known."""
        return self._now(self._statuses.get(key, PENDING))

    def suspend(self, reason: str) -> None:
        """HAProxy isn't there: no route is active, whatever was seen before."""
        self._suspended = reason

    def resume(self) -> None:
        """HAProxy is there, and what was known of the routes holds again."""
        if self._suspended is not None:
            self._suspended = None
            for key in self._waiters:
                self._tell(key)

    def _now(self, status: RouteStatus) -> RouteStatus:
        if self._suspended is None or status.state != RouteState.ACTIVE:
            return status
        return msgspec.structs.replace(status, state=RouteState.PENDING, reason=self._suspended)

    def restore(self, statuses: dict[RouteKey, RouteStatus]) -> None:
        """Take over what an earlier process had found out, as pending until seen again."""
        for key, status in statuses.items():
            self._statuses.setdefault(
                key, msgspec.structs.replace(status, state=RouteState.PENDING)
            )

    def set(self, key: RouteKey, status: RouteStatus) -> None:
        """Record a status; its health is kept unless the status brings one."""
        self._removed.pop(key, None)
        known = self._statuses.get(key)
        if known is not None and status.health == Health.UNKNOWN:
            status = msgspec.structs.replace(status, health=known.health)
        if known == status:
            return
        self._statuses[key] = status
        self._unsaved[key] = status
        self._tell(key)

    def set_health(self, key: RouteKey, health: Health) -> None:
        """Record what the origin's checks say."""
        known = self._statuses.get(key, PENDING)
        if known.health != health:
            self._statuses[key] = msgspec.structs.replace(known, health=health)

    def remove(self, key: RouteKey, revision: int) -> None:
        """The route was removed at `revision`, and HAProxy no longer knows it."""
        self._statuses.pop(key, None)
        self._unsaved.pop(key, None)
        # Told once more by a reload that was to bring it in: nothing is known of it any more then.
        self._removed[key] = max(revision, self._removed.get(key, 0))
        self._removed.move_to_end(key)
        if len(self._removed) > _REMEMBERED_REMOVALS:
            self._removed.popitem(last=False)
        self._tell(key)

    def take_unsaved(self) -> dict[RouteKey, RouteStatus]:
        """The statuses that changed since the last call."""
        unsaved, self._unsaved = self._unsaved, {}
        return unsaved

    def give_back_unsaved(self, unsaved: dict[RouteKey, RouteStatus]) -> None:
        """They couldn't be saved yet; newer ones count."""
        self._unsaved = {**unsaved, **self._unsaved}

    def counts(self) -> dict[str, int]:
        """How many routes are in each state."""
        counts = Counter(self._now(status).state.value for status in self._statuses.values())
        return {state.value: counts[state.value] for state in RouteState}

    async def settle(self, key: RouteKey, revision: int, seconds: float) -> RouteStatus:
        """Wait until the route is active, failed or gone at `revision` or later."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while (status := self._settled(key, revision)) is None:
            remaining = deadline - loop.time()
            if remaining <= 0:
                return self._unsettled(key, revision)
            await self._hear(key, remaining)
        return status

    def _settled(self, key: RouteKey, revision: int) -> RouteStatus | None:
        removed = self._removed.get(key)
        if removed is not None and removed >= revision:
            return RouteStatus(RouteState.ACTIVE, revision=removed)
        status = self.get(key)
        if status.revision >= revision and status.state != RouteState.PENDING:
            return status
        return None

    def _unsettled(self, key: RouteKey, revision: int) -> RouteStatus:
        status = self.get(key)
        if status.revision >= revision:
            return status
        # What is known is about an older revision; this one is still on its way.
        return RouteStatus(RouteState.PENDING, revision, status.reason, status.health)

    async def _hear(self, key: RouteKey, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(key, set())
        waiters.add(future)
        try:
            await asyncio.wait({future}, timeout=seconds)
        finally:
            waiters.discard(future)
            if not waiters:
                self._waiters.pop(key, None)

    def _tell(self, key: RouteKey) -> None:
        for future in self._waiters.get(key, ()):
            if not future.done():
                future.set_result(None)
