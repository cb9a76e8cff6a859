"""Configurations on their way to HAProxy: written whole or derived from the one that runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from frontserver.backends import durable
from frontserver.backends.file.generations import Generations
from frontserver.backends.file.mirror import Mirror, Written, to_its_end
from frontserver.backends.file.tree import Tree
from frontserver.backends.manifest import Manifest
from frontserver.backends.port import State
from frontserver.beside import short_turns
from frontserver.model.routes import RouteKey
from frontserver.planning.compiled import CA_PREFIX, MAPS, CompiledConfig
from frontserver.planning.delta import delta
from frontserver.planning.layout import Layout
from frontserver.rendering.invariants import check_invariants
from frontserver.rendering.render import PROFILES, Renderer
from frontserver.rendering.shards import (
    STRETCH_SLOTS,
    divided,
    shard_at,
    shard_name,
    shard_of,
    stretches,
)


class Draft(msgspec.Struct):
    """A configuration on disk that isn't current. `state` is what its files say.

    `fresh` are those of its `*.cfg` files that the current one doesn't have just so, in HAProxy's
    order; none if all of them may be others.
    """

    tree: Tree
    state: State
    fresh: Sequence[str] = ()

    @property
    def path(self) -> Path:
        return self.tree.root


class Drafts:
    """Makes drafts. What a draft has in common with the current generation isn't written again."""

    def __init__(self, renderer: Renderer, generations: Generations, mirror: Mirror) -> None:
        self._renderer = renderer
        self._generations = generations
        self._mirror = mirror

    async def make(self, state: State, changed: Callable[[], Collection[RouteKey]]) -> Draft:
        """Write a configuration.

        `changed` tells, whenever it is asked, all routes in which `state` differs from what runs.
        Raises `ConfigRejectedError`, `TemplateError` or `StorageError`.
        """
        async with self._mirror.at_rest() as written:
            if written is None or not self._says_what_would_be_rendered(written.tree, state):
                return await self.make_whole(state)
            name = self._generations.next_name()
            async with self._kept_if_whole(name):
                return await self._derived(name, written, state, changed)

    async def make_whole(self, state: State) -> Draft:
        """Write a configuration, whatever runs; raises as `make` does."""
        name = self._generations.next_name()
        async with self._kept_if_whole(name):
            with short_turns():
                return Draft(await to_its_end(self._whole, name, state), state)

    @asynccontextmanager
    async def _kept_if_whole(self, name: str) -> AsyncIterator[None]:
        """Remove what was begun, should the block not come to its end."""
        try:
            yield
        except BaseException:
            path = self._generations.path(name)
            await to_its_end(self._generations.discard, path)
            raise

    async def catch_up(self, draft: Draft, state: State, changed: Collection[RouteKey]) -> None:
        """Let a draft say `state` instead, which has other routes under the `changed` keys."""
        difference = delta(_pair(draft.state), _pair(state), changed)
        touched = sorted({shard_of(backend) for backend in difference.seats})
        routes = self._mirror.routes_in(state, touched, changed)
        texts = self._mirror.shards(state, touched, routes)
        texts |= {file.name: file.pem for file in difference.ca_files}
        await to_its_end(_bring_up, draft.tree, texts, difference.maps)
        draft.state = state

    def _says_what_would_be_rendered(self, tree: Tree, state: State) -> bool:
        """Whether this is the current generation, as we left it, and of the same templates."""
        manifest = self._generations.manifest(tree.root.name)
        return (
            manifest is not None
            and manifest.templates == state.config.frontends.templates
            and tree.root == self._generations.current()
            and all(tree.is_intact(name) for name in MAPS)
        )

    def _whole(self, name: str, state: State) -> Tree:
        manifest = Manifest.of(state)
        files = self._renderer.everything(
            state.config, state.layout, generation=manifest.label(name)
        )
        check_invariants(files)
        self._generations.write(name, files, manifest)
        return Tree.written(self._generations.path(name), files)

    async def _derived(
        self,
        name: str,
        written: Written,
        state: State,
        changed: Callable[[], Collection[RouteKey]],
    ) -> Draft:
        tree, pools = written.tree, state.layout.pools
        difference = delta(_pair(written.state), _pair(state), changed())
        fresh = {shard_of(backend) for backend in difference.seats}
        fresh |= _resized(written.state.layout, state.layout)
        in_use = set(divided(pools))
        kept = sorted(in_use - fresh)
        fresh |= set(await to_its_end(_spoilt, tree, kept))
        keep = [shard_name(shard) for shard in kept if shard not in fresh]
        # Asked anew: routes went on changing, and the mirror has them as they are by now.
        routes = self._mirror.routes_in(state, fresh, changed())
        manifest = Manifest.of(state)

        def write() -> Draft:
            files = self._renderer.frame(state.config.frontends, generation=manifest.label(name))
            files[PROFILES] = self._renderer.profiles(
                state.config.frontends, (pool.profile for _, pool in sorted(pools.items()))
            )
            files |= self._mirror.shards(state, fresh & in_use, routes)
            check_invariants(files | dict.fromkeys(MAPS, ""))
            for file, text in self._renderer.certificates(state.config).items():
                # Named after their content, so that equal names are equal files.
                if file.startswith(CA_PREFIX) and tree.is_intact(file):
                    keep.append(file)
                else:
                    files[file] = text
            made = self._generations.derive(name, tree, keep, files, manifest)
            _bring_up(made, {}, _with_drops(difference.maps, written.left_over))
            return Draft(made, state, sorted(file for file in files if file.endswith(".cfg")))

        with short_turns():
            return await to_its_end(write)


def _spoilt(tree: Tree, shards: Iterable[int]) -> list[int]:
    return [shard for shard in shards if not tree.is_intact(shard_name(shard))]


def _pair(state: State) -> tuple[CompiledConfig, Layout]:
    return state.config, state.layout


def _resized(before: Layout, after: Layout) -> set[int]:
    """The shards that have other slots than before."""
    changed: set[int] = set()
    for profile_id in {*before.pools, *after.pools}:
        had, has = before.pools.get(profile_id), after.pools.get(profile_id)
        first = 0
        if had is not None and has is not None:
            if (had.size, had.extra) == (has.size, has.extra):
                continue
            first = min(had.size, has.size) // STRETCH_SLOTS
        end = max(stretches(pool) for pool in (had, has) if pool is not None)
        changed |= {shard_at(profile_id, number) for number in range(first, end)}
    return changed


def _with_drops(
    changes: Mapping[str, Mapping[str, str | None]], dropped: Iterable[tuple[str, str]]
) -> dict[str, dict[str, str | None]]:
    """The changes, and before them these (map, key) pairs taken out."""
    combined: dict[str, dict[str, str | None]] = defaultdict(dict)
    for name, key in dropped:
        combined[name][key] = None
    for name, content in changes.items():
        combined[name].update(content)
    return combined


def _bring_up(
    tree: Tree, texts: Mapping[str, str], changes: Mapping[str, Mapping[str, str | None]]
) -> None:
    with durable.storage(tree.root.name):
        tree.put(texts)
        tree.update(changes)
