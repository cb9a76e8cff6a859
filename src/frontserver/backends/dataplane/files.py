"""Our files in the Data Plane API's storage: written whole, and only if they differ."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from frontserver.backends.dataplane.places import Places, directory_of, file_name, is_certificate
from frontserver.dataplane.client import DataPlaneClient
from frontserver.planning.compiled import MAPS, ROUTING, SYSTEM_CA, CompiledConfig
from frontserver.rendering.render import map_line


class Files:
    """Maps, certificates and CA bundles. Raises `ProxyUnavailableError` and `DataPlaneError`."""

    def __init__(self, client: DataPlaneClient) -> None:
        self.places = Places()
        self._storage = client.storage
        # What each file was last seen to hold.
        self._written: dict[str, str] = {}

    def forget(self) -> None:
        """The Data Plane API may have other files by now."""
        self._written.clear()

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
        bundles = {file.name: file.pem for r in config.routes.values() for file in r.ca_files}
        for name, pem in bundles.items():
            await self.put(name, pem)

    async def put(self, name: str, pem: str) -> None:
        """Store a certificate or a CA bundle."""
        if self._written.get(name) == pem:
            return
        file = file_name(name)
        if is_certificate(name):
            stored = await self._storage.create_certificate(file, pem)
            directory = directory_of(stored.path)
            self.places = msgspec.structs.replace(self.places, certificates=directory)
        else:
            stored = await self._storage.put_general(file, pem.encode())
            directory = directory_of(stored.path)
            self.places = msgspec.structs.replace(self.places, general=directory)
        self._written[name] = pem

    async def put_maps(self, maps: Mapping[str, Mapping[str, str]]) -> int:
        """Store all maps as they are; returns the bytes written."""
        return sum([await self._put_map(name, maps[name]) for name in MAPS])

    async def drop_entries(self, maps: Mapping[str, Mapping[str, str]]) -> None:
        """Take out of the stored routing maps whatever isn't in these any more.

        To be done before slots are given to others: between the two a cold start finds less.
        """
        for name in ROUTING:
            before = self._written.get(name)
            if before is None:
                await self._put_map(name, maps[name])
                continue
            lines = {map_line(key, value) for key, value in maps[name].items()}
            kept = [line for line in before.splitlines(keepends=True) if line in lines]
            await self._write(name, "".join(kept))

    async def _put_map(self, name: str, content: Mapping[str, str]) -> int:
        lines = await asyncio.to_thread(_lines, dict(content))
        return await self._write(name, lines)

    async def _write(self, name: str, text: str) -> int:
        if self._written.get(name) == text:
            return 0
        await self._storage.replace_map(file_name(name), text)
        self._written[name] = text
        return len(text)


def _lines(content: Mapping[str, str]) -> str:
    return "".join(sorted(map_line(key, value) for key, value in content.items()))
