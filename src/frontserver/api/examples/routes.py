"""Sample requests and answers about routes."""

from __future__ import annotations

from msgspec.structs import replace

from frontserver.wire.agents import Acknowledgement
from frontserver.wire.routes.answers import (
    HttpRouteAnswer,
    MongoRouteAnswer,
    RouteAnswer,
    RouteList,
    RouteView,
)
from frontserver.wire.routes.options import (
    CheckOptions,
    HeaderEditOptions,
    HeaderOptions,
    HttpOptions,
    MongoOptions,
    StickyOptions,
    TargetOptions,
    TimeoutOptions,
)
from frontserver.wire.routes.requests import (
    HttpRouteRequest,
    LegacyMongoRequest,
    MongoRouteRequest,
    RemoveRequest,
)

_WHEN = "2030-01-01T03:04:05Z"
_ORIGIN = "http://203.0.113.7:3000"
_MONGO_DOMAIN = "server-id.mongodb.example.com"

HTTP_VIEW = RouteView(
    type="http",
    agent_id="server-id",
    domain="shop.apps.example.com",
    subdomain="shop",
    target_url=_ORIGIN,
    status="active",
    health="up",
    options={"useTls": True, "check": True},
    created_at=_WHEN,
    updated_at=_WHEN,
)
MONGO_VIEW = RouteView(
    type="mongodb",
    agent_id="server-id",
    domain=_MONGO_DOMAIN,
    target_host="203.0.113.7",
    target_port=27017,
    status="active",
    options={"useTls": True},
    created_at=_WHEN,
    updated_at=_WHEN,
)

PUBLISH_HTTP = {
    "older agents": {
        "agentId": "server-id",
        "subdomain": "shop",
        "targetUrl": _ORIGIN,
        "expectedDomain": "shop.apps.example.com",
        "options": {"useTls": True, "check": True},
    },
    "shortest": HttpRouteRequest("server-id", "shop", _ORIGIN),
    "a path of a subdomain": HttpRouteRequest("server-id", "shop", _ORIGIN, path="/api/v2"),
    "under maintenance": HttpRouteRequest(
        "server-id", "shop", _ORIGIN, HttpOptions(maintenance=True)
    ),
    "several targets": HttpRouteRequest(
        "server-id",
        "shop",
        options=HttpOptions(
            redirect_https=True,
            check=CheckOptions(path="/healthz", interval="5s", expect_status="200-299"),
            targets=[
                TargetOptions(_ORIGIN),
                TargetOptions("http://203.0.113.8:3000", weight=50),
                TargetOptions("http://203.0.113.9:3000", backup=True),
                TargetOptions("http://203.0.113.10:3000", drain=True),
            ],
            sticky=StickyOptions("shop"),
            timeouts=TimeoutOptions(connect=3, server="1m"),
            headers=HeaderOptions(
                request=HeaderEditOptions(set={"x-tenant": "shop"}),
                response=HeaderEditOptions(remove=["server"]),
            ),
        ),
    ),
}
HTTP_ROUTE = HttpRouteAnswer(
    message="the route shop.apps.example.com is created and live",
    agent_id="server-id",
    subdomain="shop",
    domain="shop.apps.example.com",
    target_url=_ORIGIN,
    status="active",
    route=HTTP_VIEW,
)
_NOT_YET = "HAProxy can't be reached"
HTTP_ROUTE_UPDATED = replace(
    HTTP_ROUTE, message="the route shop.apps.example.com is updated and live"
)
HTTP_ROUTE_PENDING = replace(
    HTTP_ROUTE,
    message="the route shop.apps.example.com is stored; HAProxy doesn't run it yet",
    status="pending",
    reason=_NOT_YET,
    reload="new-profile",
    route=replace(
        HTTP_VIEW, status="pending", reason=_NOT_YET, reload="new-profile", health="unknown"
    ),
)
PUBLISH_MONGODB = {
    "older agents": MongoRouteRequest("server-id", "203.0.113.7", 27017, MongoOptions()),
    "shortest": MongoRouteRequest("server-id"),
}
REGISTER_MONGODB = {"older agents": LegacyMongoRequest("server-id", "203.0.113.7", 27017, True)}
MONGO_ROUTE = MongoRouteAnswer(
    message=f"the route {_MONGO_DOMAIN} is created and live",
    agent_id="server-id",
    domain=_MONGO_DOMAIN,
    connection_string=f"mongodb://{_MONGO_DOMAIN}:27017/?tls=true&directConnection=true",
    target_host="203.0.113.7",
    target_ip="203.0.113.7",
    target_port=27017,
    status="active",
    route=MONGO_VIEW,
)
MONGO_ROUTE_UPDATED = replace(MONGO_ROUTE, message=f"the route {_MONGO_DOMAIN} is updated and live")
MONGO_ROUTE_PENDING = replace(
    MONGO_ROUTE,
    message=f"the route {_MONGO_DOMAIN} is stored; HAProxy doesn't run it yet",
    status="pending",
    reason=_NOT_YET,
    route=replace(MONGO_VIEW, status="pending", reason=_NOT_YET),
)
PATH_VIEW = replace(HTTP_VIEW, path="/api/v2", options={})
AGENT_ROUTES = RouteList(agent_id="server-id", routes=[HTTP_VIEW, PATH_VIEW, MONGO_VIEW])
ROUTES = RouteList(routes=[HTTP_VIEW, MONGO_VIEW], route_count=2)
ROUTE = RouteAnswer(status="active", route=HTTP_VIEW)
REMOVE_ROUTE = {
    "an HTTP route": RemoveRequest("server-id", "shop", "http"),
    "one of several paths": RemoveRequest("server-id", "shop", "http", "/api/v2"),
    "the MongoDB route": RemoveRequest("server-id", type="mongodb"),
}
ROUTE_REMOVED = Acknowledgement(message="the route is removed", status="removed")
ROUTE_REMOVAL_PENDING = Acknowledgement(
    message="the route is removed here; HAProxy drops it when it can",
    status="pending",
    reason=_NOT_YET,
)
