"""What HAProxy runs, as the Data Plane API tells it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from frontserver.backends.dataplane.book import Book
from frontserver.backends.dataplane.ledger import Ledger, labels_in, marker
from frontserver.backends.dataplane.places import file_name
from frontserver.backends.dataplane.pools_file import witness
from frontserver.backends.dataplane.servers import PREPARED, as_found
from frontserver.backends.manifest import Manifest
from frontserver.backends.port import Look
from frontserver.dataplane.client import DataPlaneClient
from frontserver.dataplane.errors import AbsentError
from frontserver.dataplane.runtime import RuntimeServer, ServerStats
from frontserver.errors import ProxyError
from frontserver.planning.compiled import MAPS, VALUES, Profile
from frontserver.planning.layout import backend_name, slot_of
from frontserver.planning.running import Running, RunningServer

logger = logging.getLogger(__name__)

_NOTHING = Running(frontends=None, pools={}, servers={}, maps={})

# The API cuts a value short at these when it reads a single entry.
_UNREADABLE = frozenset(' ,="')


class Observer:
    """Asks what runs, all of it or a part.

    `version` and `worker` (its pid) are those that were seen last; `label` is the configuration
    that it runs, `None` if it isn't one of ours; `labels` are those that its file bore, and
    `reads_pools` is whether it has read the pools file.
    """

    def __init__(self, client: DataPlaneClient, ledger: Ledger, book: Book) -> None:
        self.version: str | None = None
        self.worker: int | None = None
        self.label: str | None = None
        self.reads_pools = False
        self._client = client
        self._runtime = client.runtime
        self._ledger = ledger
        self._book = book
        self._profiles: dict[str, Profile] = {}
        # The markers of the file, as far as they were looked at.
        self.labels: tuple[str, ...] = ()

    async def observe(self) -> Running:
        """Everything that HAProxy runs. Raises `ProxyUnavailableError`."""
        info = await self._runtime.info()
        same = self.worker == info.pid
        self.version, self.worker = info.version, info.pid
        self.label = await self._running_label()
        self.reads_pools = self.label is not None and await self._runtime.has_backend(
            witness(self.label)
        )
        manifest = self._ledger.get(self.label) if self.label else None
        if manifest is None:
            logger.warning("HAProxy runs a configuration that isn't known; it will be replaced")
            return _NOTHING
        self._profiles = {profile.id: profile for profile, _ in manifest.pools}
        lines = {name: await self._entries(name) for name in MAPS}
        maps = {name: dict(reversed(some)) for name, some in lines.items()}
        rows = await self._runtime.stats()
        servers, prepared, doubled = self._servers(rows, manifest, same_worker=same)
        self._book.found(maps, prepared, doubled=doubled, worker=same)
        return Running(
            frontends=manifest.frontends,
            pools=dict(manifest.pools),
            servers=servers,
            maps=maps,
            doubled=frozenset(
                (name, key)
                for name, some in lines.items()
                for key, count in Counter(key for key, _ in some).items()
                if count > 1
            ),
        )

    async def runs(self, label: str) -> bool:
        """Whether the worker that answers has loaded this configuration."""
        try:
            await self._runtime.servers(marker(label))
            info = await self._runtime.info()
        except (AbsentError, ProxyError):
            return False
        self.worker, self.label = info.pid, label
        manifest = self._ledger.get(label)
        self._profiles = {profile.id: profile for profile, _ in manifest.pools} if manifest else {}
        return True

    async def _running_label(self) -> str | None:
        raw = await self._client.configuration.raw()
        self.labels = labels_in(raw.text)
        candidates = dict.fromkeys([*self.labels, *self._ledger.labels()])
        for label in candidates:
            if await self._runtime.has_backend(marker(label)):
                return label
        return None

    async def _entries(self, name: str) -> list[tuple[str, str]]:
        found = await self._runtime.entries(file_name(name))
        if name != VALUES:
            return found
        # The API tells no more than the first word of each.
        known = self._book.maps[name] or await self._stored(name)
        return [(key, _completed(value, known.get(key))) for key, value in found]

    async def _stored(self, name: str) -> dict[str, str]:
        text = await self._client.storage.map_text(file_name(name))
        lines = (line.partition(" ") for line in text.splitlines() if line[:1] not in {"", "#"})
        return {key: value for key, _, value in lines}

    def _servers(
        self, rows: Iterable[ServerStats], manifest: Manifest, *, same_worker: bool
    ) -> tuple[dict[str, dict[str, RunningServer]], dict[str, str], set[str]]:
        """Servers, what the prepared ones are, and where one beside that is the same."""
        loaded = {
            backend_name(profile.id, slot): profile
            for profile, size in manifest.pools
            for slot in range(size)
        }
        servers: dict[str, dict[str, RunningServer]] = {backend: {} for backend in loaded}
        prepared: dict[str, str] = {}
        own: set[tuple[str, str]] = set()
        for row in rows:
            profile = loaded.get(row.backend)
            if profile is None:
                continue
            if same_worker and (row.backend, row.server) in self._book.leaving:
                continue
            in_service = not row.status.startswith("MAINT")
            name = row.server
            if name == PREPARED:
                if not in_service:
                    continue
                name = as_found(profile, row.address, row.port).name
                prepared[row.backend] = name
            else:
                own.add((row.backend, name))
                if prepared.get(row.backend) == name:
                    continue
            servers[row.backend][name] = RunningServer(
                row.address,
                row.port,
                ready=in_service,
                up=not row.status.startswith("DOWN"),
                weight=0 if row.status.startswith("DRAIN") else row.weight,
            )
        doubled = {backend for backend, name in prepared.items() if (backend, name) in own}
        return servers, prepared, doubled

    # --- a part of it ---

    async def look(self, backends: Mapping[str, Sequence[tuple[str, str]]]) -> Look:
        """What HAProxy runs of these backends and of these (map, key) pairs.

        An entry that the API can't read back is taken to be as it was put.
        """
        pairs = list(dict.fromkeys(pair for some in backends.values() for pair in some))
        info = await self._runtime.info()
        servers = await asyncio.gather(*(self._seen(backend) for backend in backends))
        values = await asyncio.gather(*(self._value(name, key) for name, key in pairs))
        sizes = await self._runtime.map_sizes()
        return Look(
            worker=info.pid,
            servers=dict(zip(backends, servers, strict=True)),
            entries=dict(zip(pairs, values, strict=True)),
            counts={name: sizes[file_name(name)] for name in MAPS if file_name(name) in sizes},
        )

    async def _value(self, name: str, key: str) -> str | None:
        known = self._book.maps[name].get(key)
        if known is not None and _UNREADABLE & set(known):
            return known
        return await self._runtime.entry(file_name(name), key)

    async def _seen(self, backend: str) -> dict[str, RunningServer]:
        try:
            found = await self._runtime.servers(backend)
        except AbsentError:
            return {}
        seen: dict[str, RunningServer] = {}
        for server in found:
            if (backend, server.name) in self._book.leaving:
                continue
            name = server.name
            if name == PREPARED:
                if server.admin_state == "maint":
                    continue
                profile = self._profiles.get(slot_of(backend)[0])
                if profile is not None:
                    name = as_found(profile, server.address, server.port or 0).name
            elif name in seen and self._book.prepared.get(backend) == name:
                continue  # It waits to leave.
            seen[name] = _running(server)
        return seen


def _running(server: RuntimeServer) -> RunningServer:
    return RunningServer(
        server.address,
        server.port or 0,
        ready=server.admin_state != "maint",
        up=server.operational_state != "down",
        weight=0 if server.admin_state == "drain" else None,
    )


def _completed(seen: str, known: str | None) -> str:
    """A value of which the API tells the first word, by what it was last known to be."""
    return known if known is not None and known.split(" ")[0] == seen else seen
