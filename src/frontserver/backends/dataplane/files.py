"""Our files in the Data Plane API's storage: written whole, and only if they differ.

The order of writes sees to it that what HAProxy would load at any moment leads nobody to somebody
else's servers: entries that are no more go before the configuration is another, those that are new
come after it, and what they rely on comes before them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import msgspec

from frontserver.backends.dataplane.places import (
    Places,
    bundle_of,
    directory_of,
    file_name,
    is_certificate,
)
from frontserver.beside import beside
from frontserver.dataplane.client import DataPlaneClient
from frontserver.dataplane.errors import AbsentError, BusyError
from frontserver.planning.compiled import (
    MAPS,
    ROUTING,
    SYSTEM_CA,
    Certificate,
    CompiledConfig,
)
from frontserver.rendering.render import map_line

Maps = Mapping[str, Mapping[str, str]]

_VALUES_FIRST = (*(name for name in MAPS if name not in ROUTING), *ROUTING)


class Files:
    """Maps, certificates and CA bundles. Raises `ProxyUnavailableError` and `DataPlaneError`."""

    def __init__(self, client: DataPlaneClient) -> None:
        self.places = Places()
        self._storage = client.storage
        # What each file was last seen to hold.
        self._written: dict[str, str] = {}
        self._doubts = 0
        # How many checks are under way that need a CA bundle.
        self._needed: Counter[str] = Counter()
        self._changing = asyncio.Lock()

    def forget(self) -> None:
        """The Data Plane API may have other files by now."""
        self._written.clear()
        self._doubts += 1

    def _remember(self, name: str, text: str, doubts: int) -> None:
        """A file holds this, unless there was a doubt since."""
        if doubts == self._doubts:
            self._written[name] = text

    async def prepare(self) -> None:
        """See to it that maps exist, without which no configuration is valid."""
        found = {file.name: file for file in await self._storage.maps()}
        for name in MAPS:
            if file_name(name) not in found:
                created = await self._storage.create_map(file_name(name), "")
                found[created.name] = created
        directory = directory_of(found[file_name(MAPS[0])].path)
        self.places = msgspec.structs.replace(self.places, maps=directory)

    async def put_certificates(self, config: CompiledConfig) -> None:
        """Store what the configuration refers to; certificates in use change at once."""
        for certificate in config.certificates:
            await self.put(certificate.name, certificate.pem)
        if config.frontends.system_ca is not None:
            await self.put(SYSTEM_CA, config.frontends.system_ca)
        for name, pem in bundles(config).items():
            await self.put(name, pem)

    @contextmanager
    def needed(self, config: CompiledConfig) -> Iterator[None]:
        """Inside the block, the CA bundles of this configuration stay, whatever runs."""
        names = bundles(config).keys()
        self._needed.update(names)
        try:
            yield
        finally:
            self._needed.subtract(names)
            # Without those that nobody needs any more.
            self._needed = +self._needed

    async def stored_bundles(self) -> frozenset[str]:
        """The CA bundles that there are, ours alone."""
        files = {file.name for file in await self._storage.general()}
        return frozenset(name for file in files if (name := bundle_of(file)) is not None)

    async def drop_bundles(self, kept: Collection[str]) -> None:
        """Delete all CA bundles but these; one that is in use all the same stays."""
        for name in await self.stored_bundles():
            async with self._changing:
                if name in kept or self._needed[name]:
                    continue
                # Whoever comes to need it puts it anew.
                self._written.pop(name, None)
                with suppress(BusyError):
                    await self._storage.delete_general(file_name(name))

    async def put(self, name: str, pem: str) -> None:
        """Store a certificate or a CA bundle."""
        async with self._changing:
            await self._put(name, pem)

    async def _put(self, name: str, pem: str) -> None:
        if self._written.get(name) == pem:
            return
        file, doubts = file_name(name), self._doubts
        if is_certificate(name):
            stored = await self._storage.create_certificate(file, pem)
            directory = directory_of(stored.path)
            self.places = msgspec.structs.replace(self.places, certificates=directory)
        else:
            stored = await self._storage.put_general(file, pem.encode())
            directory = directory_of(stored.path)
            self.places = msgspec.structs.replace(self.places, general=directory)
        self._remember(name, pem, doubts)

    @contextmanager
    def renewing(self, certificate: Certificate) -> Iterator[None]:
        """Somebody else stores this certificate inside the block, for the one of its name."""
        doubts = self._doubts
        # Until it is known to be done, it may be either.
        self._written.pop(certificate.name, None)
        yield
        self._remember(certificate.name, certificate.pem, doubts)

    async def put_maps(self, maps: Maps) -> int:
        """Store all maps as they are; returns the bytes written."""
        return sum([await self._write(name, await _text(maps[name])) for name in _VALUES_FIRST])

    async def load_maps(self, maps: Maps) -> None:
        """Likewise; and HAProxy has loaded them, with everything else, when this returns.

        Raises `ReloadFailedError` and `OutcomeUnknownError`.
        """
        *others, last = _VALUES_FIRST
        for name in others:
            await self._write(name, await _text(maps[name]))
        text, doubts = await _text(maps[last]), self._doubts
        self._written.pop(last, None)
        await self._storage.load_map(file_name(last), text)
        self._remember(last, text, doubts)

    async def drop_entries(self, *maps: Maps) -> None:
        """Take out of the stored routing maps whatever isn't in all of these.

        Between this and what is written next a cold start finds less, and nothing wrong.
        """
        for name in ROUTING:
            stored = await self._stored(name)
            alike = [dict(some[name]) for some in maps]
            await self._write(name, await beside(_common, stored, alike))

    async def _stored(self, name: str) -> str:
        known = self._written.get(name)
        if known is None:
            try:
                known = await self._storage.map_text(file_name(name))
            except AbsentError:
                known = ""
        return known

    async def _write(self, name: str, text: str) -> int:
        if self._written.get(name) == text:
            return 0
        # Until it is known to be done, it may hold either.
        self._written.pop(name, None)
        doubts = self._doubts
        await self._storage.replace_map(file_name(name), text)
        self._remember(name, text, doubts)
        return len(text)


def bundles(config: CompiledConfig) -> dict[str, str]:
    """The CA bundles of a configuration, by name."""
    return {file.name: file.pem for route in config.routes.values() for file in route.ca_files}


async def _text(content: Mapping[str, str]) -> str:
    return await beside(_lines, dict(content))


def _common(stored: str, maps: Sequence[Mapping[str, str]]) -> str:
    """The lines of a stored map that are in all of these too."""
    kept = set.intersection(*({map_line(*pair) for pair in some.items()} for some in maps))
    return "".join(line for line in stored.splitlines(keepends=True) if line in kept)


def _lines(content: Mapping[str, str]) -> str:
    return "".join(sorted(map_line(key, value) for key, value in content.items()))
