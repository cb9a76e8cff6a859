"""Whole configurations, rendered."""

from __future__ import annotations

from frontserver.planning.compiled import CompiledConfig
from frontserver.planning.diff import diff
from frontserver.planning.layout import Layout, PoolPolicy
from frontserver.planning.plan import lay_out, plan
from frontserver.rendering.render import Renderer
from frontserver.rendering.templates import Templates

NO_SPARE = PoolPolicy((), spare=0)


def laid_out(config: CompiledConfig, policy: PoolPolicy = NO_SPARE) -> Layout:
    """Every route on a slot."""
    changes = diff(CompiledConfig(config.frontends), config)
    return lay_out(Layout(), plan(changes, Layout()).deferred, policy)


def rendered(
    config: CompiledConfig, policy: PoolPolicy = NO_SPARE, renderer: Renderer | None = None
) -> dict[str, str]:
    """All files of a configuration as a first start would load it."""
    layout = laid_out(config, policy)
    made = renderer or Renderer(Templates())
    return made.everything(config, layout, generation="000001")
