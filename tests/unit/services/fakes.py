"""A publisher that does what the test says, and a clock that stands still until it is moved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from frontserver.model.routes import RouteKey
from frontserver.model.status import PENDING, ProxyStatus, RouteState, RouteStatus
from frontserver.storage.routes import StoredRoute

START = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


class FakePublisher:
    """Settles everything at once, as `outcome` says."""

    def __init__(self) -> None:
        self.outcome = RouteState.ACTIVE
        self.reload: str | None = None
        self.statuses: dict[RouteKey, RouteStatus] = {}
        self.woken = 0
        self.waits: list[tuple[RouteKey, int, float]] = []

    def tell(self, key: RouteKey, stored: StoredRoute) -> None:
        self.wake()

    def wake(self) -> None:
        self.woken += 1

    async def settle(self, key: RouteKey, revision: int, seconds: float) -> RouteStatus:
        self.waits.append((key, revision, seconds))
        self.statuses[key] = RouteStatus(self.outcome, revision, reload=self.reload)
        return self.statuses[key]

    def status(self, key: RouteKey) -> RouteStatus:
        return self.statuses.get(key, PENDING)

    def proxy_status(self) -> ProxyStatus:
        return ProxyStatus(True, True, 0, 0)


class FakeClock:
    """Call it for the time; `pass_by` moves it."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.now.timestamp()

    def pass_by(self, **how_long: float) -> None:
        self.now += timedelta(**how_long)
