"""The text of a configuration, where only what changed is rendered again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from frontserver.backends.dataplane.ledger import marker
from frontserver.backends.port import State
from frontserver.planning.compiled import CompiledRoute
from frontserver.planning.layout import Pool, backend_name
from frontserver.rendering.invariants import check_invariants
from frontserver.rendering.render import (
    FRONTENDS,
    GLOBAL,
    PROFILES,
    SECTIONS,
    SHARD_SLOTS,
    Renderer,
    shard_name,
    shards,
)

# By what a shard is known to be as it was: templates, number of slots, who sits on them.
_Shape = tuple[str, int, tuple[CompiledRoute | None, ...]]


class Text(NamedTuple):
    """A configuration: our sections, and what is ours in frontends of the operator's.

    `adopted` maps their names to modes (`http`, `tcp`) and lines.
    """

    sections: str
    adopted: Mapping[str, tuple[str, str]] = {}


class Document:
    """Renders states. Blocks for about 0.1 ms a changed shard; call it from a thread."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._shards: dict[str, tuple[_Shape, str]] = {}

    def text(self, state: State, label: str) -> Text:
        """The whole configuration, with the marker of this label.

        Raises `TemplateError` and `ConfigRejectedError`.
        """
        config, layout = state.config, state.layout
        frontends = config.frontends
        routes = {
            backend: config.routes[key]
            for key, backend in layout.slots.items()
            if key in config.routes
        }
        frame = self._renderer.frame(frontends, generation=label)
        pools = [pool for _, pool in sorted(layout.pools.items())]
        profiles = self._renderer.profiles(frontends, (pool.profile for pool in pools))
        parts = [frame[GLOBAL], frame[SECTIONS], frame[FRONTENDS], profiles]
        fresh = {**frame, PROFILES: profiles}
        kept: dict[str, tuple[_Shape, str]] = {}
        for pool in pools:
            for shard in range(shards(pool)):
                name = shard_name(pool.profile.id, shard)
                known = self._shards.get(name)
                kept[name] = self._shard(known, pool, shard, routes, frontends.templates)
                if kept[name] is not known:
                    fresh[name] = kept[name][1]
                parts.append(kept[name][1])
        check_invariants(fresh, listens=not frontends.adopts)
        self._shards = kept
        parts.append(f"backend {marker(label)} from fs_http\n")
        sections = "\n".join(part.rstrip("\n") + "\n" for part in parts)
        return Text(sections, self._renderer.adopted(frontends))

    def _shard(
        self,
        known: tuple[_Shape, str] | None,
        pool: Pool,
        shard: int,
        routes: dict[str, CompiledRoute],
        templates: str,
    ) -> tuple[_Shape, str]:
        first = shard * SHARD_SLOTS
        slots = range(first, min(first + SHARD_SLOTS, pool.end))
        seats = tuple(routes.get(backend_name(pool.profile.id, slot)) for slot in slots)
        shape = (templates, len(slots), seats)
        if known is not None and known[0] == shape:
            return known
        return shape, self._renderer.shard(pool, shard, routes, templates=templates)
