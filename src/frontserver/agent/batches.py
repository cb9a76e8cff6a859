"""Long lists of routes, cut into requests that every server takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

# Fewer may be allowed by the operator (FRONTSERVER_BATCH_ROUTES); the bytes are what the API
# takes whatever is set, with room for what surrounds the routes.
MOST_ROUTES = 1000
MOST_BYTES = 240 * 1024


def requests(routes: Iterable[Mapping[str, Any]], agent_id: str) -> Iterator[dict[str, Any]]:
    """The bodies of POST /api/proxy/routes that publish these routes, in their order.

    Members that are `None` are left out; a route without `agentId` is this agent's.
    """
    batch: list[msgspec.Raw] = []
    size = 0
    for route in routes:
        members = {name: value for name, value in route.items() if value is not None}
        entry = msgspec.json.encode({"agentId": agent_id, **members})
        if batch and (len(batch) == MOST_ROUTES or size + len(entry) > MOST_BYTES):
            yield {"routes": batch}
            batch, size = [], 0
        batch.append(msgspec.Raw(entry))
        size += len(entry) + 1
    if batch:
        yield {"routes": batch}
