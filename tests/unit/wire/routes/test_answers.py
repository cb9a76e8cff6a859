"""Routes as answers show them."""

from __future__ import annotations

from typing import Any

import msgspec

from frontserver.wire.routes.answers import RouteList, RouteView


def view(**changes: Any) -> RouteView:
    values: dict[str, Any] = {
        "type": "http",
        "agent_id": "a1",
        "domain": "shop.apps.example.com",
        "status": "active",
        "options": {},
        "created_at": "2030-01-01T00:00:00Z",
        "updated_at": "2030-01-01T00:00:00Z",
    }
    return RouteView(**(values | changes))


def test_lists_say_success_and_leave_out_what_is_not_there() -> None:
    assert msgspec.to_builtins(RouteList(routes=[])) == {"success": True, "routes": []}
    full = msgspec.to_builtins(RouteList(routes=[view()], agent_id="a1", route_count=1, next="x"))
    assert set(full) == {"success", "routes", "agentId", "routeCount", "next"}


def test_a_route_view_always_tells_status_and_health() -> None:
    shown = msgspec.to_builtins(view(subdomain="shop"))
    assert shown == {
        "type": "http",
        "agentId": "a1",
        "domain": "shop.apps.example.com",
        "status": "active",
        "options": {},
        "createdAt": "2030-01-01T00:00:00Z",
        "updatedAt": "2030-01-01T00:00:00Z",
        "health": "unknown",
        "subdomain": "shop",
    }
