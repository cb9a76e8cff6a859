"""Metrics in the text format of Prometheus: of requests, of HAProxy, of its upkeep.

No name of a tenant is ever a label: series stay few, and the page can be public.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.enums import ScopeType
from litestar.handlers import BaseRouteHandler
from litestar.params import SkipValidation
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from frontserver.api.authentication import PUBLIC
from frontserver.api.dependencies import Proxy
from frontserver.api.documentation import answers, described
from frontserver.api.examples import health as examples
from frontserver.model.status import ProxyStatus

# A method is the caller's text: only these become a label.
_METHODS = frozenset({"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"})
_FAST = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_STEP = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_RELOAD = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counts in a registry of its own, by the names of docs/operations.md.

    Implements `Measurements` for whatever keeps HAProxy in step.
    """

    def __init__(self, version: str) -> None:
        self._version = version
        registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        self._registry = registry
        self._requests = Counter(
            "frontserver_requests",
            "Requests to the API.",
            ("handler", "method", "status"),
            registry=registry,
        )
        self._request_seconds = Histogram(
            "frontserver_request_seconds",
            "Time from a request's head to the last byte of its answer.",
            ("handler",),
            buckets=_FAST,
            registry=registry,
        )
        self._reloads = Counter(
            "frontserver_reloads",
            "Reloads of HAProxy; one with several reasons counts for each.",
            ("reason",),
            registry=registry,
        )
        self._failed_reloads = Counter(
            "frontserver_failed_reloads",
            "Reloads that HAProxy refused or that never ended; what ran before went on.",
            registry=registry,
        )
        self._reload_seconds = Histogram(
            "frontserver_reload_seconds",
            "Time of a reload, from rendering to the new worker's first answer.",
            buckets=_RELOAD,
            registry=registry,
        )
        self._applied = Counter(
            "frontserver_applied_routes",
            "Routes that were changed in HAProxy without a reload.",
            registry=registry,
        )
        self._apply_seconds = Histogram(
            "frontserver_apply_seconds",
            "Time to make waiting changes in HAProxy and read them back.",
            buckets=_STEP,
            registry=registry,
        )
        self._flush_seconds = Histogram(
            "frontserver_disk_flush_seconds",
            "How long after HAProxy a change was on disk.",
            buckets=_FAST,
            registry=registry,
        )
        self._written = Counter(
            "frontserver_disk_written_bytes",
            "Bytes of HAProxy's configuration written to disk between reloads.",
            registry=registry,
        )
        self._canaries = Counter(
            "frontserver_canaries",
            "New profiles tried on a throwaway HAProxy.",
            ("verdict",),
            registry=registry,
        )
        # `labels` looks up under a lock and makes strings: once a series is enough.
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._timers: dict[str, Histogram] = {}

    def answered(self, handler: str, method: str, status: int, seconds: float) -> None:
        """A request to the API came to its end; status 0 means without an answer."""
        key = handler, method, status
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = self._requests.labels(handler, method, str(status))
            self._timers.setdefault(handler, self._request_seconds.labels(handler))
        counter.inc()
        self._timers[handler].observe(seconds)

    def reloaded(self, reasons: Iterable[str], seconds: float) -> None:
        for reason in reasons:
            self._reloads.labels(str(reason)).inc()
        self._reload_seconds.observe(seconds)

    def reload_failed(self, reasons: Iterable[str], seconds: float) -> None:  # noqa: ARG002 - a reload that fails is one, whatever it was for
        self._failed_reloads.inc()

    def applied(self, routes: int, seconds: float) -> None:
        self._applied.inc(routes)
        self._apply_seconds.observe(seconds)

    def flushed(self, seconds: float, written: int) -> None:
        self._flush_seconds.observe(seconds)
        self._written.inc(written)

    def judged(self, verdict: str, seconds: float) -> None:  # noqa: ARG002 - a canary is part of its reload's time
        self._canaries.labels(verdict).inc()

    def exposition(self, proxy: ProxyStatus) -> bytes:
        """Everything as text (Prometheus text format 0.0.4), with HAProxy as it is now."""
        families = [*self._registry.collect(), *self._now(proxy)]
        for family in families:
            # Each counter and histogram would have a second series with the time it was made.
            family.samples = [s for s in family.samples if not s.name.endswith("_created")]
        return generate_latest(_Page(families))

    def _now(self, proxy: ProxyStatus) -> Iterator[Metric]:
        info = InfoMetricFamily("frontserver_build", "This program.")
        info.add_metric((), {"version": self._version})
        yield info
        info = InfoMetricFamily("frontserver_haproxy", "HAProxy, once its version is known.")
        if proxy.version is not None:
            info.add_metric((), {"version": proxy.version})
        yield info
        routes = GaugeMetricFamily(
            "frontserver_routes", "Stored routes by their state.", labels=("state",)
        )
        for state, count in sorted(proxy.counts.items()):
            routes.add_metric((state,), count)
        yield routes
        waits = GaugeMetricFamily(
            "frontserver_reload_waits",
            "1 while a reload that is due is put off, with the reason.",
            labels=("reason",),
        )
        if proxy.reload_waits is not None:
            waits.add_metric((proxy.reload_waits,), 1)
        yield waits
        for name, text, value in _gauges(proxy):
            yield GaugeMetricFamily(f"frontserver_{name}", text, value=float(value))


def _gauges(proxy: ProxyStatus) -> Iterable[tuple[str, str, float]]:
    return (
        ("haproxy_reachable", "1 while HAProxy answers.", proxy.reachable),
        ("haproxy_in_step", "1 while HAProxy runs all that is stored.", proxy.in_step),
        ("stored_revision", "Revision of the newest change heard of.", proxy.stored_revision),
        ("applied_revision", "Revision that HAProxy runs.", proxy.applied_revision),
        ("old_workers", "Workers that a reload replaced and that still run.", proxy.old_workers),
        ("old_worker_bytes", "Resident memory of the old workers.", proxy.old_worker_bytes),
        ("pool_profiles", "Profiles that HAProxy has loaded.", proxy.profiles),
        ("pool_slots", "Backends in all pools.", proxy.slots),
        ("pool_spare_slots", "Backends free for routes to come.", proxy.spare_slots),
        ("disk_behind_seconds", "Age of what isn't on disk yet.", proxy.disk_behind_seconds),
        ("warnings", "Things to mend that /health/ready names.", len(proxy.warnings)),
    )


class _Page(Collector):
    """What is collected already, for a function that wants to collect."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


class MetricsController(Controller):
    """For Prometheus. Public as health is: it names no tenant."""

    tags = ("Health",)

    @get(
        "/metrics",
        media_type="text/plain",
        **PUBLIC,
        responses=answers(
            str,
            {200: ("Everything measured, in Prometheus' text format.", examples.METRICS)},
            media_type="text/plain",
        ),
        operation_class=described(),
    )
    async def metrics(
        self, publisher: Proxy, measured: NamedDependency[SkipValidation[Metrics]]
    ) -> Response[bytes]:
        """Metrics of requests, HAProxy and its upkeep; absent where the operator wants none."""
        page = measured.exposition(publisher.proxy_status())
        return Response(
            page,
            # Litestar adds the charset to any kind of text.
            media_type="text/plain; version=0.0.4",
            headers={"Cache-Control": "no-store"},
        )


class MeasuredApp:
    """An ASGI application whose HTTP requests are counted and timed.

    Around the whole application, since what no handler serves is never seen by a middleware.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            method = str(scope["method"])
            self._metrics.answered(
                _handler(scope),
                method if method in _METHODS else "other",
                status,
                time.perf_counter() - began,
            )


def _handler(scope: Mapping[str, object]) -> str:
    """The name of the handler that served; `none` where no path matched."""
    handler = scope.get("route_handler")
    return handler.handler_name if isinstance(handler, BaseRouteHandler) else "none"
