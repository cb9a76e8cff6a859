"""Keeps the current generation's files in step with what was done at run time.

HAProxy must come back with the same state after a crash or a reboot, without us.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import ParamSpec

from frontserver.backends.file.generations import Generations
from frontserver.backends.port import State
from frontserver.planning.actions import Action, DropEntry, PutCaFile, PutEntry
from frontserver.planning.compiled import MAPS, ROUTING, CompiledRoute
from frontserver.planning.layout import slot_of
from frontserver.planning.plan import RouteSteps
from frontserver.planning.running import materialise
from frontserver.rendering.render import SHARD_SLOTS, Renderer, map_line, shard_name

P = ParamSpec("P")


class Mirror:
    """A model of the files, and which of them are behind. One flush runs at a time."""

    def __init__(self, renderer: Renderer, generations: Generations) -> None:
        self._renderer = renderer
        self._generations = generations
        self._state: State | None = None
        self._maps: dict[str, dict[str, str]] = {name: {} for name in MAPS}
        self._routes: dict[str, CompiledRoute] = {}
        self._behind: set[tuple[str, int]] = set()
        self._maps_behind: set[str] = set()
        self._texts: dict[str, str] = {}
        self._lock = asyncio.Lock()

    def value(self, name: str, key: str) -> str | None:
        """What a map entry should be."""
        return self._maps[name].get(key)

    def loaded(self, state: State) -> None:
        """The files hold exactly this: a generation of it was just loaded."""
        self._model(state)
        self._behind.clear()
        self._maps_behind.clear()
        self._texts.clear()

    def doubt(self, state: State) -> None:
        """This is what runs; any file may be behind."""
        self._model(state)
        self._texts.update(self._renderer.certificates(state.config))
        self._maps_behind.update(MAPS)
        self._behind.update(
            (profile_id, shard)
            for profile_id, pool in state.layout.pools.items()
            for shard in range(-(-pool.size // SHARD_SLOTS))
        )

    def follow(self, state: State, steps: Sequence[RouteSteps]) -> None:
        """These steps were taken."""
        self._state = state
        for step in steps:
            if step.vacated is not None:
                self._routes.pop(step.vacated, None)
                self._mark(step.vacated)
            if step.slot is not None and step.new is not None:
                self._routes[step.slot] = step.new
                self._mark(step.slot)
            self.act(step.actions)

    def act(self, actions: Sequence[Action]) -> None:
        """These actions were carried out."""
        for action in actions:
            match action:
                case PutEntry(name, key, value):
                    self._maps[name][key] = value
                    self._maps_behind.add(name)
                case DropEntry(name, key):
                    self._maps[name].pop(key, None)
                    self._maps_behind.add(name)
                case PutCaFile(file):
                    self._texts[file.name] = file.pem
                case _:
                    pass

    def certificate(self, name: str, pem: str) -> None:
        """A certificate was replaced."""
        self._texts[name] = pem

    @property
    def state(self) -> State | None:
        """What runs, as far as it was told."""
        return self._state

    @property
    def is_behind(self) -> bool:
        return bool(self._behind or self._maps_behind or self._texts)

    async def flush(self) -> None:
        """Write what is behind; what can't be written stays behind.

        Raises `StorageError` and `TemplateError`.
        """
        async with self._lock:
            shards, maps, texts = self._behind, self._maps_behind, self._texts
            self._behind, self._maps_behind, self._texts = set(), set(), {}
            try:
                await _to_its_end(self._write, texts | self._render(shards, maps))
            except BaseException:
                self._behind |= shards
                self._maps_behind |= maps
                self._texts = texts | self._texts
                raise

    def _model(self, state: State) -> None:
        self._state = state
        self._routes = {
            backend: state.config.routes[key]
            for key, backend in state.layout.slots.items()
            if key in state.config.routes
        }
        running = materialise(state.config, state.layout)
        self._maps = {name: dict(content) for name, content in running.maps.items()}

    def _mark(self, backend: str) -> None:
        profile_id, slot = slot_of(backend)
        self._behind.add((profile_id, slot // SHARD_SLOTS))

    def _render(self, shards: Iterable[tuple[str, int]], maps: Iterable[str]) -> dict[str, str]:
        """In the order to write: whatever makes a route reachable comes last."""
        files: dict[str, str] = {}
        pools = self._state.layout.pools if self._state else {}
        templates = self._state.config.frontends.templates if self._state else ""
        for profile_id, shard in sorted(shards):
            if profile_id in pools:
                text = self._renderer.shard(
                    pools[profile_id], shard, self._routes, templates=templates
                )
                files[shard_name(profile_id, shard)] = text
        for name in sorted(maps, key=lambda name: (name in ROUTING, name)):
            lines = (map_line(key, value) for key, value in sorted(self._maps[name].items()))
            files[name] = "".join(lines)
        return files

    def _write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            self._generations.replace(name, text)


async def _to_its_end(work: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Run `work` in a thread; when cancelled, wait for it all the same.

    A thread can't be called back, and two of them must not write the same files.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise
