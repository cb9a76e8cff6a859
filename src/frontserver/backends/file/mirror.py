"""Keeps the current generation's files in step with what was done at run time.

HAProxy must come back with the same state after a crash or a reboot, without us.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from typing import ParamSpec, TypeVar

import msgspec

from frontserver.backends import durable
from frontserver.backends.file.tree import Tree
from frontserver.backends.port import State
from frontserver.model.routes import RouteKey
from frontserver.planning.actions import Action, DropBackend, DropEntry, PutCaFile, PutEntry
from frontserver.planning.compiled import MAPS, ROUTING, Certificate, CompiledRoute, Server
from frontserver.planning.delta import Delta, delta
from frontserver.planning.layout import Layout, backend_name
from frontserver.planning.plan import RouteSteps
from frontserver.planning.running import entries, materialise, seats
from frontserver.rendering.render import Renderer, map_line
from frontserver.rendering.shards import divided, shard_name, shard_of, slots_in
from frontserver.rendering.stretches import StretchTexts

P = ParamSpec("P")
T = TypeVar("T")

# Files a write: a flush of everything lets others in between.
_AT_ONCE = 64

# Of a shard that had only backends that were made at run time, and taken away again.
_EMPTY = "# No slots are here now.\n"

_Changes = Mapping[str, Mapping[str, str | None]]


class Mirror:
    """A model of what runs, the files it is written to, and which of them are behind."""

    def __init__(self, renderer: Renderer) -> None:
        self.tree: Tree | None = None
        # Whether a flush would have to wait until a draft is written.
        self.is_at_rest = False
        self._renderer = renderer
        self._texts = StretchTexts(renderer)
        self._state: State | None = None
        self._maps: dict[str, dict[str, str]] = {name: {} for name in MAPS}
        self._routes: dict[str, CompiledRoute] = {}
        # Values of slots that were left: their last streams use them until they end.
        self._left: dict[str, set[tuple[str, str]]] = {}
        self._behind = _Behind()
        self._written: Written | None = None
        self._lock = asyncio.Lock()

    @property
    def state(self) -> State | None:
        """What runs, as far as it was told."""
        return self._state

    @property
    def is_behind(self) -> bool:
        """Whether some file says less than HAProxy runs."""
        return bool(self._behind)

    def value(self, name: str, key: str) -> str | None:
        """What a map entry should be."""
        return self._maps[name].get(key)

    def server(self, backend: str, name: str) -> Server | None:
        """How a server of a backend should be."""
        route = self._routes.get(backend)
        return next((s for s in route.servers if s.name == name), None) if route else None

    # --- what happened ---

    def loaded(self, state: State, tree: Tree, changed: Delta | None) -> None:
        """HAProxy runs exactly this, and `tree` holds it.

        `changed` is what of the routes differs from before; `None` if that isn't known.
        """
        self.tree = tree
        self._behind = _Behind()
        self._texts.forget_all_but(state.layout.pools)
        if changed is None or self._state is None:
            self._model(state)
            return
        for pairs in self._left.values():
            for name, key in pairs:
                self._maps[name].pop(key, None)
        self._left.clear()
        for name, content in changed.maps.items():
            _change(self._maps[name], content)
        for backend, route in changed.seats.items():
            self._routes.pop(backend, None)
            if route is not None:
                self._routes[backend] = route
        self._state = state

    def doubt(self, state: State, tree: Tree) -> None:
        """This is what runs; any file of `tree` may be behind."""
        self.tree = tree
        self._model(state)
        self._behind.texts |= self._renderer.certificates(state.config)
        self._behind.maps |= dict.fromkeys(MAPS)
        self._behind.shards |= divided(state.layout.pools).keys()

    def follow(self, state: State, steps: Sequence[RouteSteps]) -> None:
        """These steps were taken."""
        self._state = state
        for step in steps:
            if step.vacated is not None:
                self._leave(step.vacated)
            if step.slot is not None and step.new is not None:
                self._left.pop(step.slot, None)
                self._routes[step.slot] = step.new
                self._behind.shards.add(shard_of(step.slot))
            self.act(step.actions)

    def act(self, actions: Sequence[Action]) -> None:
        """These actions were carried out."""
        for action in actions:
            match action:
                case PutEntry(name, key, value):
                    self._maps[name][key] = value
                    self._behind.entry(name, key)
                case DropEntry(name, key):
                    self._maps[name].pop(key, None)
                    self._behind.entry(name, key)
                    self._forget_left(name, key)
                case DropBackend(backend):
                    self._behind.shards.add(shard_of(backend))
                case PutCaFile(file):
                    self._behind.texts[file.name] = file.pem
                case _:
                    pass

    def renew(self, certificate: Certificate) -> None:
        """This certificate has replaced the one of its name."""
        self._behind.texts[certificate.name] = certificate.pem
        if self._state is not None:
            self._state = self._state.with_certificate(certificate)

    def _leave(self, backend: str) -> None:
        route = self._routes.pop(backend, None)
        if route is not None:
            left = {(e.map, e.key) for e in entries(route, backend) if e.map not in ROUTING}
            if left:
                self._left[backend] = left
        self._behind.shards.add(shard_of(backend))

    def _forget_left(self, name: str, key: str) -> None:
        backend = key.partition("/")[0]
        left = self._left.get(backend)
        if left is not None:
            left.discard((name, key))
            if not left:
                del self._left[backend]

    def _model(self, state: State) -> None:
        self._state = state
        self._left.clear()
        self._routes = seats(state.config, state.layout)
        running = materialise(state.config, Layout(slots=state.layout.slots))
        self._maps = {name: dict(content) for name, content in running.maps.items()}

    # --- the files ---

    async def flush(self) -> int:
        """Write what is behind, as of now; what can't be written stays behind.

        Returns the bytes written. Raises `StorageError` and `TemplateError`.
        """
        async with self._lock:
            return await self._flush()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Write nothing inside the block."""
        async with self._lock:
            yield

    @asynccontextmanager
    async def at_rest(self) -> AsyncIterator[Written | None]:
        """Flush, and write nothing inside the block: what the files say meanwhile, if known."""
        self.is_at_rest = True
        try:
            async with self._lock:
                await self._flush()
                yield self._written
        finally:
            self.is_at_rest = False

    async def _flush(self) -> int:
        behind, self._behind = self._behind, _Behind()
        tree = self.tree
        if tree is None or self._state is None:
            self._behind.add(behind)
            self._written = None
            return 0
        written = Written(tree, self._state, self._left_over())
        if not behind:
            self._written = written
            return 0
        self._written = None
        size = 0
        try:
            # All that may change while it is written is read here.
            changes, files = self._entries(behind), self._wholes(behind, self._state)
            for some in files:
                size += await to_its_end(_put, tree, some)
            size += await to_its_end(_update, tree, changes)
        except BaseException:
            self._behind.add(behind)
            raise
        self._written = written
        return size

    def _wholes(self, behind: _Behind, state: State) -> Iterator[Mapping[str, str]]:
        """Whole files to write, some at a time; those that make routes reachable are the last."""
        shards = sorted(behind.shards)
        routes = self._routes if len(shards) <= _AT_ONCE else dict(self._routes)
        rendered = (
            self.shards(state, shards[first : first + _AT_ONCE], routes)
            for first in range(0, len(shards), _AT_ONCE)
        )
        first_files = behind.texts | next(rendered, {})
        maps = [
            {name: self._map_text(name)}
            for name in _in_order(behind.maps)
            if self._whole(behind, name)
        ]
        return (files for files in chain([first_files], rendered, maps) if files)

    def _whole(self, behind: _Behind, name: str) -> bool:
        """Whether a map has to be written as a whole."""
        return behind.maps[name] is None or self.tree is None or not self.tree.is_intact(name)

    def _map_text(self, name: str) -> str:
        return "".join(map_line(key, value) for key, value in sorted(self._maps[name].items()))

    def _entries(self, behind: _Behind) -> _Changes:
        """The entries that changed, of maps that needn't be written whole."""
        return {
            name: {key: self._maps[name].get(key) for key in behind.maps[name] or ()}
            for name in _in_order(behind.maps)
            if not self._whole(behind, name)
        }

    def shards(
        self, state: State, shards: Iterable[int], routes: Mapping[str, CompiledRoute]
    ) -> dict[str, str]:
        """The texts of these shards; `routes` by backend."""
        templates, wanted = state.config.frontends.templates, sorted(shards)
        parts = divided(state.layout.pools, wanted)
        return {
            shard_name(shard): self._texts.shard(parts.get(shard, ()), routes, templates) or _EMPTY
            for shard in wanted
        }

    def difference(self, state: State, changed: Iterable[RouteKey]) -> Delta | None:
        """How `state` differs from now in these routes; `None` if nothing is known of now."""
        if self._state is None:
            return None
        now = self._state.config, self._state.layout
        return delta(now, (state.config, state.layout), changed)

    def routes_in(
        self, state: State, shards: Iterable[int], changed: Iterable[RouteKey]
    ) -> dict[str, CompiledRoute]:
        """Who sits where in these shards under `state`, which differs from now in `changed`."""
        slots = (
            backend_name(pool.profile.id, slot)
            for parts in divided(state.layout.pools, shards).values()
            for pool, stretch in parts
            for slot in slots_in(pool, stretch)
        )
        found = {b: route for b in slots if (route := self._routes.get(b)) is not None}
        difference = self.difference(state, changed)
        for backend, route in difference.seats.items() if difference else ():
            found.pop(backend, None)
            if route is not None:
                found[backend] = route
        return found

    def _left_over(self) -> frozenset[tuple[str, str]]:
        return frozenset().union(*self._left.values()) if self._left else frozenset()


class Written(msgspec.Struct, frozen=True):
    """What the files of a tree say: a state, and entries of slots that were left."""

    tree: Tree
    state: State
    left_over: frozenset[tuple[str, str]]


class _Behind(msgspec.Struct):
    """What isn't on disk yet: of a map the keys that changed, `None` for all of it."""

    shards: set[int] = msgspec.field(default_factory=set)
    maps: dict[str, set[str] | None] = msgspec.field(default_factory=dict)
    texts: dict[str, str] = msgspec.field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.shards or self.maps or self.texts)

    def entry(self, name: str, key: str) -> None:
        known = self.maps.setdefault(name, set())
        if known is not None:
            known.add(key)

    def add(self, older: _Behind) -> None:
        """What couldn't be written; newer texts count."""
        self.shards |= older.shards
        self.texts = older.texts | self.texts
        for name, keys in older.maps.items():
            mine = self.maps.get(name, set())
            self.maps[name] = None if keys is None or mine is None else keys | mine


def _in_order(maps: Iterable[str]) -> list[str]:
    """Whatever makes a route reachable is written last."""
    return sorted(maps, key=lambda name: (name in ROUTING, name))


def _change(content: dict[str, str], changes: Mapping[str, str | None]) -> None:
    for key, value in changes.items():
        if value is None:
            content.pop(key, None)
        else:
            content[key] = value


def _put(tree: Tree, files: Mapping[str, str]) -> int:
    with durable.storage(next(iter(files))):
        return tree.put(files)


def _update(tree: Tree, changes: _Changes) -> int:
    with durable.storage("maps"):
        return tree.update(changes)


async def to_its_end(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in a thread; when cancelled, wait for it all the same.

    A thread can't be called back, and two of them must not write the same files.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise
