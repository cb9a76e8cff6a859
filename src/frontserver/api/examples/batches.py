"""Sample requests and answers about many routes at once."""

from __future__ import annotations

from msgspec.structs import replace

from frontserver.wire.batches import (
    BatchAnswer,
    BatchCounts,
    BatchRequest,
    HttpEntry,
    MongoEntry,
    RouteOutcome,
)
from frontserver.wire.routes.options import HttpOptions

_ORIGIN = "http://203.0.113.7:3000"
_SHOP = RouteOutcome(
    type="http",
    agent_id="server-id",
    domain="shop.apps.example.com",
    subdomain="shop",
    change="created",
    status="active",
)
_API = replace(_SHOP, path="/api/v2", change="unchanged")
_MONGO = RouteOutcome(
    type="mongodb",
    agent_id="server-id",
    domain="server-id.mongodb.example.com",
    connection_string=(
        "mongodb://server-id.mongodb.example.com:27017/?tls=true&directConnection=true"
    ),
    change="created",
    status="active",
)

PUBLISH_BATCH = {
    "an agent's routes": BatchRequest(
        [
            HttpEntry(
                agent_id="server-id",
                subdomain="shop",
                target_url=_ORIGIN,
                options=HttpOptions(check=True),
            ),
            HttpEntry(agent_id="server-id", subdomain="shop", target_url=_ORIGIN, path="/api/v2"),
            MongoEntry(agent_id="server-id", target_host="203.0.113.7", type="mongodb"),
        ]
    ),
    "an operator's, of several agents": BatchRequest(
        [
            HttpEntry(agent_id="server-id", subdomain="shop", target_url=_ORIGIN),
            HttpEntry(agent_id="other", subdomain="blog", target_url="http://203.0.113.8:3000"),
        ]
    ),
}
BATCH = BatchAnswer(
    message="2 created, 1 unchanged; 3 active, 0 pending, 0 failed",
    counts=BatchCounts(active=3, pending=0, failed=0),
    routes=[_SHOP, _API, _MONGO],
)
BATCH_PENDING = BatchAnswer(
    message="2 created, 1 unchanged; 2 active, 1 pending, 0 failed",
    counts=BatchCounts(active=2, pending=1, failed=0),
    routes=[
        replace(
            _SHOP,
            status="pending",
            reason="HAProxy is being reloaded for this route",
            reload="new-profile",
        ),
        _API,
        _MONGO,
    ],
)
