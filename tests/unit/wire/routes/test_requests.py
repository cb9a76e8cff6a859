"""What older agents send is understood."""

from __future__ import annotations

import msgspec
import pytest

from frontserver.errors import InputError
from frontserver.model.routes import HealthCheck
from frontserver.model.targets import HostPort
from frontserver.wire.routes.requests import (
    HttpRouteRequest,
    LegacyMongoRequest,
    MongoRouteRequest,
    RemoveRequest,
)
from frontserver.wire.routes.translation import http_route, mongo_route


def test_an_old_agents_http_request_is_understood() -> None:
    request = msgspec.json.decode(
        b'{"agentId":"SERVER_ID-1","subdomain":"shop","targetUrl":"http://203.0.113.7:3000",'
        b'"expectedDomain":"shop.apps.example.com","options":{"useTls":true,"check":true}}',
        type=HttpRouteRequest,
    )
    with pytest.raises(InputError, match="not an agent id"):
        http_route(request, app_domain="apps.example.com", tls_available=True)
    route = http_route(
        msgspec.structs.replace(request, agent_id="SERVER-1"),
        app_domain="apps.example.com",
        tls_available=True,
    )
    assert route.agent_id == "server-1"
    assert route.domain == "shop.apps.example.com"
    assert [str(target.url) for target in route.targets] == ["http://203.0.113.7:3000"]
    assert route.use_tls
    assert route.check == HealthCheck()


def test_old_agents_mongodb_requests_are_understood() -> None:
    legacy = msgspec.json.decode(
        b'{"agentId":"a1","targetIp":"203.0.113.7","targetPort":27017,"useTls":true}',
        type=LegacyMongoRequest,
    )
    assert (legacy.target_ip, legacy.target_port, legacy.use_tls) == ("203.0.113.7", 27017, True)
    request = msgspec.json.decode(
        b'{"agentId":"A1","targetHost":"203.0.113.7","targetPort":27018,"options":{"useTls":true}}',
        type=MongoRouteRequest,
    )
    route = mongo_route(request, mongo_domain="mongodb.example.com", default_host="192.0.2.1")
    assert route.domain == "a1.mongodb.example.com"
    assert route.target == HostPort("203.0.113.7", 27018)
    assert not route.check


def test_an_old_agents_removal_is_understood() -> None:
    body = b'{"agentId":"SERVER-1","subdomain":"shop","type":"http"}'
    assert msgspec.json.decode(body, type=RemoveRequest).subdomain == "shop"
    assert msgspec.json.decode(b'{"agentId":"a"}', type=RemoveRequest).type == "http"
