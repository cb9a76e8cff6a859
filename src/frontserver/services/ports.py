"""What the services need from the side that drives HAProxy."""

from __future__ import annotations

from typing import Protocol

from frontserver.model.routes import RouteKey
from frontserver.model.status import ProxyStatus, RouteStatus
from frontserver.storage.routes import StoredRoute


class Publisher(Protocol):
    """Brings stored state into HAProxy and says how far it got."""

    def tell(self, key: RouteKey, stored: StoredRoute) -> None:
        """This was stored, and is durable: bring it in. Returns at once."""
        ...

    def wake(self) -> None:
        """Something was stored: look at it now. Returns at once."""
        ...

    async def settle(self, key: RouteKey, revision: int, seconds: float) -> RouteStatus:
        """Wait until the route is active or failed at `revision` or later, at most `seconds`.

        For a removed route, `active` means that HAProxy no longer knows it.
        """
        ...

    def status(self, key: RouteKey) -> RouteStatus:
        """What is known of the route now, without waiting."""
        ...

    def proxy_status(self) -> ProxyStatus:
        """What is known of HAProxy now."""
        ...
