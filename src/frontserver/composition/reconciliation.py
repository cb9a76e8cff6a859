"""The reconciler of the one HAProxy there is."""

from __future__ import annotations

from frontserver.backends.port import Backend
from frontserver.composition.frontends import CertificateFile, make_frontends, tls_available
from frontserver.composition.targets import target_policy
from frontserver.model.measurements import Measurements
from frontserver.planning.compile import STANDARD_PROFILES
from frontserver.planning.compiled import CompiledConfig
from frontserver.planning.layout import PoolPolicy
from frontserver.reconcile.desired import DesiredState
from frontserver.reconcile.reconciler import Reconciler, Timing
from frontserver.reconcile.resolution import Resolver
from frontserver.rendering.templates import Templates
from frontserver.settings import Settings
from frontserver.storage.engine import Database
from frontserver.storage.feed import RouteStore

POOLS = PoolPolicy(STANDARD_PROFILES, spare=64)

# A look at some routes takes dozens of requests, 0.1 s of the API's time.
_DATAPLANE_TIMING = Timing(least_drift=2.0, sweep=2.0)


def make_reconciler(
    settings: Settings,
    backend: Backend,
    database: Database,
    templates: Templates,
    measurements: Measurements | None = None,
) -> Reconciler:
    """The reconciler of the one HAProxy there is."""
    resolver = Resolver()
    config = CompiledConfig(make_frontends(settings, templates))
    return Reconciler(
        backend,
        route_store(settings, database),
        DesiredState(config, resolver, target_policy(settings)),
        resolver,
        policy=POOLS,
        certificates=CertificateFile(settings),
        timing=_DATAPLANE_TIMING if settings.backend == "dataplane" else None,
        budget=settings.old_worker_memory,
        measurements=measurements,
    )


def route_store(settings: Settings, database: Database) -> RouteStore:
    """The stored routes as a reconciler reads them."""
    return RouteStore(database, settings.app_domain, settings.mongo_domain, tls_available(settings))
