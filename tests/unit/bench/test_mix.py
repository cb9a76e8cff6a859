"""The routes of the benchmarks are what the report says of them."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from bench.mix import PROFILES, STANDARD, Additions, base
from frontserver.planning.compile import STANDARD_PROFILES, compile_route
from frontserver.planning.compiled import Profile
from frontserver.wire.routes.requests import HttpRouteRequest
from frontserver.wire.routes.translation import http_route

PORTS = (1001, 1002, 1003)


def compiled(options: dict[str, object]) -> Profile:
    """The profile that the product makes of a route's options."""
    body = {"agentId": "a", "subdomain": "s", "targetUrl": "http://127.0.0.1:1", "options": options}
    request = msgspec.json.decode(msgspec.json.encode(body), type=HttpRouteRequest)
    route = http_route(
        request, app_domain="apps.example.com", tls_available=False, reserved=frozenset()
    )
    return compile_route(route, {}).profile


def test_there_are_twenty_different_profiles() -> None:
    assert len({compiled(options).id for options in PROFILES}) == 20


def test_the_standard_ones_are_those_that_the_product_has_pools_for() -> None:
    standard = [
        number for number, each in enumerate(PROFILES) if compiled(each) in STANDARD_PROFILES
    ]

    assert list(STANDARD) == standard


def test_three_routes_in_ten_have_checks() -> None:
    checked = {number for number, options in enumerate(PROFILES) if "check" in options}
    loaded = sum(route.profile in checked for route in base(10_000, PORTS))

    assert len(checked) * 10 == 3 * len(PROFILES)
    assert 0.28 < loaded / 10_000 < 0.33


def test_no_more_routes_have_checks_than_haproxy_has_files_for() -> None:
    routes = base(1000, PORTS, checks=20)

    assert sum("check" in route.options for route in routes) == 20
    assert len(routes) == 1000


def test_at_a_thousand_routes_every_profile_has_enough_for_spare_slots() -> None:
    counts = Counter(route.profile for route in base(1000, PORTS))

    assert len(counts) == len(PROFILES)
    assert min(counts.values()) >= 3


def test_a_longer_list_begins_with_a_shorter_one() -> None:
    assert base(10, PORTS) == base(100, PORTS)[:10]


def test_no_agent_has_more_routes_than_the_product_allows() -> None:
    routes = base(20_000, PORTS)
    profiles: dict[str, set[int]] = {}
    for route in routes:
        profiles.setdefault(route.agent, set()).add(route.profile)

    assert max(Counter(route.agent for route in routes).values()) < 1000
    assert {1} == {len(each) for each in profiles.values()}


def test_added_routes_are_spread_evenly_under_new_names() -> None:
    additions = Additions(PORTS)
    routes = [*additions.take(20, range(20)), *additions.take(20, range(20))]

    assert {2} == set(Counter(route.profile for route in routes).values())
    assert len({route.name for route in routes}) == 40


def test_each_new_profile_is_new() -> None:
    additions = Additions(PORTS)
    profiles = {compiled(additions.new_profile().options).id for _ in range(5)}

    assert len(profiles) == 5


@pytest.mark.parametrize("number", range(len(PROFILES)))
def test_no_profile_changes_the_name_that_the_origin_sees(number: int) -> None:
    assert not compiled(PROFILES[number]).rewrite_host
