"""All routes' backends in a file of their own, which the Data Plane API stores without reading it.

The API parses and writes its configuration whole for every write, seconds of work with 10,000
backends. A stored file it only replaces (atomically), in milliseconds. HAProxy reads it after the
API's configuration, if the operator has it do so.

The configuration and this file are written one after the other, and the API may put an older
configuration back. So the file has a block for each configuration that may be loaded, and the
configuration chooses its own with a variable: whichever of them a cold start finds, they fit.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time

from frontserver.backends.dataplane.places import file_name
from frontserver.dataplane.client import DataPlaneClient
from frontserver.dataplane.errors import AbsentError

# In the API's storage of general files.
NAME = file_name("pools.cfg")
_VARIABLE = "FS_POOLS"

# Seconds between two looks whether it was edited, and how many times longer than a look that is.
_LOOK_SECONDS = 3.0
_LOOK_RARITY = 100

# Beside what is written and what runs: what else the API may put back.
_KEPT = 2
_HEAD = "# Written by frontserver; changes made here by hand are replaced.\n"
_BLOCK = re.compile(
    rf'^\.if streq\("\${_VARIABLE}",(?P<key>\S+)\)\n(?P<text>.*?)^\.endif\n# end of (?P=key)\n',
    re.MULTILINE | re.DOTALL,
)


def witness(label: str) -> str:
    """The backend by which HAProxy is seen to have read this file's block of a configuration."""
    return f"fs_pools_{label}"


def choosing(key: str) -> str:
    """The lines of a configuration that goes with the block of this key."""
    return f"global\n    setenv {_VARIABLE} {key}\n"


def chosen_in(text: str) -> tuple[str, ...]:
    """The keys that a configuration names: one, if nobody has meddled with it."""
    return tuple(re.findall(rf"^\s+setenv {_VARIABLE} (\S+)$", text, re.MULTILINE))


class PoolsFile:
    """The blocks of the stored file. Raises `ProxyUnavailableError` and `DataPlaneError`.

    `is_stored` is whether the API has such a file: whoever wants one makes it, empty.
    """

    def __init__(self, client: DataPlaneClient) -> None:
        self.is_stored = False
        self._storage = client.storage
        # The oldest come first; `None` while that isn't known.
        self._blocks: dict[str, str] | None = None
        self._digest = b""
        self._look_at = 0.0
        self._lock = asyncio.Lock()

    async def look(self) -> None:
        """See whether there is such a file."""
        self.is_stored = any(file.name == NAME for file in await self._storage.general())
        self.forget()

    def forget(self) -> None:
        """The file may be another by now."""
        self._blocks = None

    async def put(self, key: str, text: str, *, alone: bool, running: str | None) -> int:
        """Write a block; returns the bytes written, 0 if nothing is another.

        Unless it is `alone`, that of what is `running` stays beside it, and the newest others.
        """
        async with self._lock:
            stored = self._blocks
            before = await self._read() if stored is None and not alone else stored or {}
            others = [] if alone else [other for other in before if other != key]
            kept = {running, *others[-_KEPT:]}
            blocks = {other: before[other] for other in others if other in kept} | {key: text}
            if blocks == stored:
                return 0
            self._blocks = None
            content = await asyncio.to_thread(_content, blocks)
            await self._storage.replace_general(NAME, content)
            self._blocks, self._digest = blocks, await asyncio.to_thread(_digest, content)
            return len(content)

    async def was_edited(self) -> bool:
        """Whether somebody else has changed what was written; looks only now and then."""
        began = time.monotonic()
        if began < self._look_at:
            return False
        async with self._lock:
            if self._blocks is None:
                return False
            try:
                content = await self._storage.general_content(NAME)
            except AbsentError:
                content = b""
            edited = await asyncio.to_thread(_digest, content) != self._digest
        took = time.monotonic() - began
        self._look_at = began + max(_LOOK_SECONDS, took * _LOOK_RARITY)
        return edited

    async def _read(self) -> dict[str, str]:
        try:
            content = await self._storage.general_content(NAME)
        except AbsentError:
            return {}
        text = content.decode("utf-8", "replace")
        return {found["key"]: found["text"] for found in _BLOCK.finditer(text)}


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _content(blocks: dict[str, str]) -> bytes:
    parts = (
        f'.if streq("${_VARIABLE}",{key})\n{text}.endif\n# end of {key}\n'
        for key, text in blocks.items()
    )
    return "\n".join([_HEAD, *parts]).encode()
