"""What the running HAProxy says of itself, in the terms of what it was given."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from frontserver.backends.file.generations import Generations
from frontserver.backends.file.judge import Judge
from frontserver.backends.file.leaving import Leaving
from frontserver.backends.file.oldworkers import OldWorkers
from frontserver.backends.file.ondisk import map_entries
from frontserver.backends.manifest import Manifest
from frontserver.backends.port import Look
from frontserver.errors import CommandRefusedError, ProxyError
from frontserver.haproxy import procfs
from frontserver.haproxy.commands import word
from frontserver.haproxy.probe import Prober, ask
from frontserver.haproxy.reads import (
    ServerStates,
    parse_map_sizes,
    parse_map_value,
    parse_server_states,
)
from frontserver.haproxy.runtime import RuntimeClient
from frontserver.planning.capabilities import Capabilities
from frontserver.planning.compiled import MAPS, ROUTING
from frontserver.planning.layout import backend_name, is_beyond
from frontserver.planning.running import Running, RunningServer
from frontserver.rendering.render import GLOBAL

logger = logging.getLogger(__name__)

_PREFIX = "frontserver-"

# HAProxy reserves a file for each health check, and doesn't start if it can't have them; neither
# does it with few left for connections. So many are left, or a quarter.
_FILES_FOR_OTHERS = 512

# Nothing that is known can be said of it: all of it is to be replaced.
_UNKNOWN = Running(frontends=None, pools={}, servers={}, maps={})


class Observer:
    """Asks one HAProxy what it runs, all of it or a part, and what it can do.

    `version` and `worker` (its pid) are those that answered last, `None` until one has, and
    `most_checks` is as many health checks as that one has files for, `None` if it can't be told;
    `learning` is the trial of profiles that goes on beside, if any does.
    """

    def __init__(
        self,
        runtime: RuntimeClient,
        generations: Generations,
        judge: Judge,
        leaving: Leaving,
        old_workers: OldWorkers,
        prober: Prober | None,
    ) -> None:
        self.version: str | None = None
        self.worker: int | None = None
        self.most_checks: int | None = None
        self.capabilities: Capabilities | None = None
        self.learning: asyncio.Task[None] | None = None
        self._runtime = runtime
        self._generations = generations
        self._judge = judge
        self._leaving = leaving
        self._old_workers = old_workers
        self._prober = prober
        self._learnt_of = ""

    async def observe(self) -> Running:
        """Everything that it runs; raises `ProxyUnavailableError` and `StorageError`."""
        info = await self._runtime.info()
        self.version = info.version
        self._meet(info.pid)
        self.most_checks = _most_checks(procfs.most_files(info.pid))
        await self._learn(info.version)
        loaded = self._loaded(info.description)
        if loaded is None:
            logger.warning("HAProxy runs a configuration that isn't here; it will be replaced")
            return _UNKNOWN
        generation, manifest = loaded
        if lost := await asyncio.to_thread(self._generations.lost, generation):
            # It may have been started without them, or reloaded by somebody.
            logger.warning("%s has lost %s; it will be replaced", generation, ", ".join(lost))
            return _UNKNOWN
        names = await self._runtime.backend_names()
        slots = list(_slots(manifest))
        if not names.issuperset(slots):
            # Shards were.
            logger.warning("HAProxy lacks backends of %s; it will be replaced", generation)
            return _UNKNOWN
        if generation != self._generations.current():
            # A reload was interrupted. What follows on disk is what runs.
            logger.warning("HAProxy runs %s: that is the current one again", generation)
            await asyncio.to_thread(self._generations.promote, generation)
        await asyncio.to_thread(self._generations.mark, generation)
        sizes = {profile.id: size for profile, size in manifest.pools}
        # The slots beyond those that were loaded: made at run time, then or before a start.
        extra = frozenset(name for name in names if is_beyond(name, sizes))
        states = await self._runtime.server_states(None)
        lines = {name: await self._lines(name) for name in MAPS}
        on_disk = await asyncio.to_thread(self._on_disk, generation)
        return Running(
            frontends=manifest.frontends,
            pools=dict(manifest.pools),
            servers={backend: self._seen(backend, states) for backend in (*slots, *extra)},
            # Of several entries with one key, the first one counts.
            maps={name: dict(reversed(some)) for name, some in lines.items()},
            extra=extra,
            doubled=frozenset(
                (name, key)
                for name, some in lines.items()
                for key, count in Counter(key for key, _ in some).items()
                if count > 1
            ),
            on_disk=on_disk,
        )

    async def look(self, backends: Mapping[str, Sequence[tuple[str, str]]]) -> Look:
        """What it runs of these backends and of these (map, key) pairs; raises likewise."""
        pairs = list(dict.fromkeys(pair for some in backends.values() for pair in some))
        questions = [f"show servers state {backend}" for backend in backends]
        questions += [f"get map {name} {word(key)}" for name, key in pairs]
        *answers, maps = await self._runtime.run([*questions, "show map"])
        servers, values = answers[: len(backends)], answers[len(backends) :]
        return Look(
            worker=self._runtime.worker,
            servers={
                backend: self._seen(backend, parse_server_states(answer))
                for backend, answer in zip(backends, servers, strict=True)
            },
            entries={
                pair: parse_map_value(answer, pair[1])
                for pair, answer in zip(pairs, values, strict=True)
            },
            counts=parse_map_sizes(maps),
        )

    async def runs(self, generation: Path) -> bool:
        """Whether the worker that answers has loaded this generation."""
        try:
            info = await self._runtime.info()
        except ProxyError:
            return False
        self._meet(info.pid)
        loaded = self._loaded(info.description)
        return loaded is not None and loaded[0] == generation

    def _meet(self, worker: int) -> None:
        self.worker = worker
        self._old_workers.meet(worker)

    def _loaded(self, description: str) -> tuple[Path, Manifest] | None:
        """The generation that a worker has loaded, by its description, if it is here."""
        label = description.removeprefix(_PREFIX)
        name = label.partition("-")[0]
        manifest = self._generations.manifest(name) if name.isdigit() else None
        if manifest is None or manifest.label(name) != label:
            return None
        return self._generations.path(name), manifest

    def _on_disk(self, generation: Path) -> frozenset[str]:
        """The backends that the files of a generation lead to. Blocks."""
        texts = self._generations.read(generation, *ROUTING).values()
        return frozenset(backend for text in texts for backend in map_entries(text).values())

    async def _learn(self, version: str) -> None:
        """See what this HAProxy can do, once for each version that is met."""
        known = self.capabilities
        if known is not None and version == self._learnt_of:
            return
        current = self._generations.current()
        texts = self._generations.read(current, GLOBAL) if current else {}
        found = (
            await ask(self._runtime)
            if self._prober is None
            else await self._prober.observe(self._runtime, texts)
        )
        if found.lacking:
            logger.error("HAProxy lacks commands that are needed: %s", ", ".join(found.lacking))
        self.capabilities, self._learnt_of = found, version
        self._runtime.capable(found)
        self._judge.dynamic = found.dynamic_backends
        manifest = self._generations.manifest(current.name) if current else None
        if found.dynamic_backends and current is not None and manifest is not None:
            if self.learning is not None:
                self.learning.cancel()
            self.learning = asyncio.create_task(self._judge.learn(current, manifest))

    async def _lines(self, name: str) -> list[tuple[str, str]]:
        try:
            return await self._runtime.map_entries(name)
        except CommandRefusedError:
            # Templates of an older version, or of the operator, don't look into every map.
            return []

    def _seen(self, backend: str, found: ServerStates) -> dict[str, RunningServer]:
        return {
            name: RunningServer(
                state.address, state.port, state.ready, state.up, weight=state.weight
            )
            for name, state in found.get(backend, {}).items()
            if (backend, name) not in self._leaving
        }


def _slots(manifest: Manifest) -> Iterator[str]:
    """The backends that a configuration has for routes."""
    for profile, size in manifest.pools:
        for slot in range(size):
            yield backend_name(profile.id, slot)


def _most_checks(files: int | None) -> int | None:
    return None if files is None else max(0, files - max(files // 4, _FILES_FOR_OTHERS))
