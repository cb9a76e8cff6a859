"""The operator's templates: read, rehearsed, and taken up anew while HAProxy runs."""

from __future__ import annotations

import asyncio

from frontserver.composition.frontends import CertificateFile, make_frontends
from frontserver.composition.haproxy import check_files
from frontserver.composition.reconciliation import POOLS
from frontserver.errors import SettingsError
from frontserver.planning.compiled import CompiledConfig
from frontserver.reconcile.reconciler import Reconciler
from frontserver.rendering.invariants import check_reloadable
from frontserver.rendering.render import Renderer
from frontserver.rendering.templates import Templates
from frontserver.rendering.updates import TemplateUpdates, rehearsed
from frontserver.settings import Settings


def make_templates(settings: Settings) -> Templates:
    """The templates as they are on disk. Raises `TemplateError` and `SettingsError`."""
    templates = Templates(settings.template_dir)
    known = {extension.name for extension in templates.extensions()}
    missing = sorted(settings.route_profiles - known)
    if missing:
        raise SettingsError(
            [
                f"FRONTSERVER_ROUTE_PROFILES: {name}: FRONTSERVER_TEMPLATE_DIR has no "
                f"custom/profiles/{name}.cfg.j2"
                for name in missing
            ]
        )
    return templates


def rehearsed_templates(settings: Settings) -> Templates:
    """Templates that render; raises what is wrong with them before anything depends on them."""
    templates = make_templates(settings)
    rehearsal(settings, templates)
    return templates


def rehearsal(settings: Settings, templates: Templates) -> dict[str, str]:
    """What `rehearsed` says of these templates with these settings."""
    frame = CompiledConfig(
        make_frontends(settings, templates), certificates=CertificateFile(settings)()
    )
    return rehearsed(Renderer(templates), frame, POOLS)


def template_updates(
    settings: Settings, templates: Templates, renderer: Renderer, reconciler: Reconciler
) -> TemplateUpdates:
    """What takes up changed templates while HAProxy runs."""

    async def rehearse(before: Templates, changed: Templates) -> None:
        files = await asyncio.to_thread(rehearsal, settings, changed)
        check_reloadable(await asyncio.to_thread(rehearsal, settings, before), files)
        await check_files(settings, Renderer(changed), files)

    def use(changed: Templates) -> None:
        renderer.offer(changed)
        reconciler.reframe(make_frontends(settings, changed))

    return TemplateUpdates(
        templates,
        read=lambda: make_templates(settings),
        rehearse=rehearse,
        use=use,
        warn=lambda warning: reconciler.warn("templates", warning),
    )
