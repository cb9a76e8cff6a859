"""A configuration on disk, seen as if HAProxy ran it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from frontserver.backends.file.generations import Generations
from frontserver.backends.manifest import Manifest
from frontserver.errors import StorageError
from frontserver.planning.compiled import MAPS
from frontserver.planning.layout import backend_name, is_beyond
from frontserver.planning.running import Running, RunningServer
from frontserver.rendering.lines import split

_ADDRESS = re.compile(r"(?P<host>.+):(?P<port>[0-9]{1,5})")


class OnDisk(msgspec.Struct, frozen=True):
    """The current generation: what HAProxy calls it, its texts by file name, what they say."""

    label: str
    files: Mapping[str, str]
    running: Running


def read_current(generations: Generations) -> OnDisk:
    """What HAProxy would load now. Raises `StorageError` if there is nothing to load."""
    current = generations.current()
    manifest = generations.manifest(current.name) if current else None
    if current is None or manifest is None:
        raise StorageError(
            "there is no configuration on disk yet",
            hint="the first start of `frontserver serve` writes one",
        )
    files = generations.read(current)
    return OnDisk(manifest.label(current.name), files, _running(manifest, files))


def map_entries(text: str) -> dict[str, str]:
    """The entries of a map file. Of two with one key, HAProxy finds the first."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, separator, value = line.partition(" ")
        if separator and not key.startswith("#"):
            found.setdefault(key, value.strip())
    return found


def _running(manifest: Manifest, files: Mapping[str, str]) -> Running:
    servers: dict[str, dict[str, RunningServer]] = {
        backend_name(profile.id, slot): {}
        for profile, size in manifest.pools
        for slot in range(size)
    }
    shards = {name: text for name, text in files.items() if name.startswith("50-")}
    sizes = {profile.id: size for profile, size in manifest.pools}
    backends = {line.section[1] for line in split(shards) if line.section[:1] == ("backend",)}
    # Made at run time, and written down since.
    extra = frozenset(name for name in backends if is_beyond(name, sizes))
    servers |= {name: {} for name in extra}
    for backend, name, server in _servers(shards):
        if backend in servers:
            servers[backend][name] = server
    return Running(
        frontends=manifest.frontends,
        pools=dict(manifest.pools),
        servers=servers,
        maps={name: map_entries(files.get(name, "")) for name in MAPS},
        extra=extra,
    )


def _servers(shards: Mapping[str, str]) -> Iterator[tuple[str, str, RunningServer]]:
    for line in split(shards):
        if line.words[:1] == ("server",) and len(line.words) > 2 and len(line.section) > 1:
            address = _ADDRESS.fullmatch(line.words[2])
            if address is not None:
                host, port = address["host"].strip("[]"), int(address["port"])
                yield line.section[1], line.words[1], RunningServer(host, port)
