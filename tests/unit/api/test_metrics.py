"""Metrics: what is counted, under which names, and what must never become a label."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from frontserver.api.metrics import MeasuredApp, Metrics
from frontserver.model.measurements import Measurements, Unmeasured
from frontserver.model.status import ProxyStatus
from tests.unit.api.fakes import IN_STEP, World, assert_problem

Sample = tuple[str, tuple[tuple[str, str], ...]]


class MeasuredWorld(World):
    """The API over fakes, with every request measured."""

    def __init__(self) -> None:
        self.metrics = Metrics("1.2.3")
        super().__init__(metrics=self.metrics)
        self.measured = MeasuredApp(self.api, self.metrics)

    async def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.measured)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://front") as client:
            return await client.request(method, path, **request)


def read(text: str) -> dict[Sample, float]:
    """Every sample of a page by its name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def page(metrics: Metrics, proxy: ProxyStatus = IN_STEP) -> dict[Sample, float]:
    return read(metrics.exposition(proxy).decode())


def requests(page: dict[Sample, float]) -> dict[tuple[str, str, str], float]:
    return {
        (labels["handler"], labels["method"], labels["status"]): value
        for (name, pairs), value in page.items()
        if name == "frontserver_requests_total"
        for labels in [dict(pairs)]
    }


async def test_the_page_is_public_and_in_prometheus_own_format() -> None:
    answer = await MeasuredWorld().ask("GET", "/metrics")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = read(answer.text)
    assert found["frontserver_build_info", (("version", "1.2.3"),)] == 1
    assert found["process_resident_memory_bytes", ()] > 0


def test_no_series_is_spent_on_when_a_counter_was_made() -> None:
    metrics = Metrics("1")
    metrics.answered("health", "GET", 200, 0.1)

    assert [name for name, _ in page(metrics) if name.endswith("_created")] == []


async def test_without_metrics_there_is_no_page() -> None:
    assert_problem(await World(metrics=None).call("GET", "/metrics", token=None), 404)


async def test_requests_are_counted_by_handler_method_and_status() -> None:
    world = MeasuredWorld()
    for path in ("/health", "/health", "/api/proxy/routes"):
        await world.ask("GET", path)

    found = read((await world.ask("GET", "/metrics")).text)

    assert requests(found) == {
        ("health", "GET", "200"): 2,
        ("list_routes", "GET", "401"): 1,
    }
    assert found["frontserver_request_seconds_count", (("handler", "health"),)] == 2
    assert found["frontserver_request_seconds_sum", (("handler", "health"),)] > 0


async def test_strangers_texts_never_become_labels() -> None:
    """Else whoever sends ten thousand paths or methods makes as many series."""
    world = MeasuredWorld()
    for text in ("BREW", "PLANT"):
        await world.ask(text, f"/{text}")

    assert requests(page(world.metrics)) == {("none", "other", "404"): 2}


async def test_a_request_that_breaks_off_counts_without_a_status() -> None:
    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        raise ConnectionError

    metrics = Metrics("1")
    app: ASGIApp = MeasuredApp(breaks, metrics)
    scope: Any = {"type": ScopeType.HTTP, "method": "GET"}
    unused: Any = None
    with pytest.raises(ConnectionError):
        await app(scope, unused, unused)

    assert requests(page(metrics)) == {("none", "GET", "0"): 1}


async def test_what_isnt_http_passes_uncounted() -> None:
    seen: list[str] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    metrics = Metrics("1")
    scope: Any = {"type": "lifespan"}
    unused: Any = None
    await MeasuredApp(inner, metrics)(scope, unused, unused)

    assert seen == ["lifespan"]
    assert requests(page(metrics)) == {}


def test_haproxy_is_shown_as_it_is_now() -> None:
    proxy = replace(
        IN_STEP,
        in_step=False,
        stored_revision=9,
        counts={"active": 4, "pending": 1, "failed": 0},
        reload_waits="old-workers",
        old_workers=2,
        old_worker_bytes=3_000_000,
        profiles=5,
        slots=320,
        spare_slots=316,
        disk_behind_seconds=1.5,
        warnings=("templates",),
    )

    found = page(Metrics("1"), proxy)

    expected = {
        "haproxy_reachable": 1, "haproxy_in_step": 0, "stored_revision": 9, "applied_revision": 7,
        "old_workers": 2, "old_worker_bytes": 3_000_000, "pool_profiles": 5, "pool_slots": 320,
        "pool_spare_slots": 316, "disk_behind_seconds": 1.5, "warnings": 1,
    }  # fmt: skip
    assert {name: found[f"frontserver_{name}", ()] for name in expected} == expected
    assert found["frontserver_routes", (("state", "pending"),)] == 1
    assert found["frontserver_reload_waits", (("reason", "old-workers"),)] == 1
    assert found["frontserver_haproxy_info", (("version", "2.8.25"),)] == 1


def test_a_haproxy_that_was_never_seen_has_no_version_and_no_reload_waits() -> None:
    names = {name for name, _ in page(Metrics("1"), ProxyStatus(False, False, 0, 0))}

    assert "frontserver_haproxy_info" not in names
    assert "frontserver_reload_waits" not in names


def test_events_are_counted() -> None:
    metrics = Metrics("1")
    told: Measurements = metrics
    told.reloaded(("new-profile", "pool-refill"), 0.2)
    told.reloaded(("pool-refill",), 0.4)
    told.reload_failed(("frontends",), 1.0)
    told.applied(3, 0.002)
    told.flushed(0.1, 4096)
    told.judged("passed", 0.1)

    found = page(metrics)

    assert found["frontserver_reloads_total", (("reason", "pool-refill"),)] == 2
    assert found["frontserver_reloads_total", (("reason", "new-profile"),)] == 1
    assert found["frontserver_reload_seconds_count", ()] == 2
    assert found["frontserver_failed_reloads_total", ()] == 1
    assert found["frontserver_applied_routes_total", ()] == 3
    assert found["frontserver_apply_seconds_count", ()] == 1
    assert found["frontserver_disk_flush_seconds_count", ()] == 1
    assert found["frontserver_disk_written_bytes_total", ()] == 4096
    assert found["frontserver_canaries_total", (("verdict", "passed"),)] == 1


def test_two_front_servers_in_one_process_count_apart() -> None:
    one, other = Metrics("1"), Metrics("1")
    one.applied(1, 0.1)

    assert page(other)["frontserver_applied_routes_total", ()] == 0


def test_nobody_needs_to_count() -> None:
    nobody: Measurements = Unmeasured()
    nobody.reloaded((), 0)
    nobody.reload_failed((), 0)
    nobody.applied(0, 0)
    nobody.flushed(0, 0)
    nobody.judged("", 0)
