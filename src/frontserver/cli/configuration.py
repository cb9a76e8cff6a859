"""Whole configurations for the stored routes, without a running front server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping

from frontserver.backends.file.generations import Generations
from frontserver.backends.file.ondisk import OnDisk, read_current
from frontserver.composition.frontends import CertificateFile, make_frontends
from frontserver.composition.reconciliation import POOLS, route_store
from frontserver.composition.services import opened_database
from frontserver.composition.targets import target_policy
from frontserver.planning.compiled import CompiledConfig
from frontserver.planning.diff import diff
from frontserver.planning.layout import Layout
from frontserver.planning.plan import lay_out, plan
from frontserver.planning.running import adopt
from frontserver.reconcile.desired import DesiredState
from frontserver.reconcile.resolution import Resolver
from frontserver.rendering.invariants import check_invariants
from frontserver.rendering.render import Renderer
from frontserver.settings import Settings

# So many names at once, and so many seconds for each: who waits is at a terminal.
_AT_ONCE = 32
_LOOKUP_SECONDS = 5.0


async def rendered_configuration(settings: Settings, renderer: Renderer) -> dict[str, str]:
    """The files that a HAProxy without a past would load for the stored routes."""
    files = await _rendered(settings, renderer, None)
    adopts = settings.dataplane_http_frontends or settings.dataplane_mongodb_frontends
    check_invariants(files, listens=not adopts)
    return files


async def compared_configuration(
    settings: Settings, renderer: Renderer
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The files on disk, and those that would be there with today's settings and templates.

    Routes stay on the slots where they are. Raises `StorageError` if nothing is on disk yet.
    """
    present = await asyncio.to_thread(read_current, Generations(settings.config_dir))
    return present.files, await _rendered(settings, renderer, present)


async def _rendered(
    settings: Settings, renderer: Renderer, present: OnDisk | None
) -> dict[str, str]:
    resolver = Resolver()
    templates = renderer.newest
    frame = CompiledConfig(
        make_frontends(settings, templates), certificates=CertificateFile(settings)()
    )
    desired = DesiredState(frame, resolver, target_policy(settings))
    async with opened_database(settings) as database:
        _, stored = await route_store(settings, database).snapshot()
    unknown = desired.take(stored)
    if present is not None:
        desired.recognise(present.running)
    await _look_up(unknown - resolver.addresses.keys(), resolver)
    before, layout = frame, Layout()
    desired.recompile(stored, before)
    if present is not None:
        found = adopt(desired.config, present.running)
        before, layout = found.config, found.layout
        desired.recompile(stored, before)
    planned = plan(diff(before, desired.config), layout)
    layout = planned.layout
    if planned.reasons or present is None:
        layout = lay_out(layout, planned.deferred, POOLS)
    label = present.label if present is not None else "000000"
    return renderer.everything(desired.config, layout, generation=label)


async def _look_up(hosts: Iterable[str], resolver: Resolver) -> None:
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(host: str) -> None:
        async with places:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOKUP_SECONDS):
                    await resolver.refresh(host, lambda _: None)

    await asyncio.gather(*(one(host) for host in hosts))
