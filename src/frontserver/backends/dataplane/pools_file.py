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
    rf'^\.if streq\("\${_VARIABLE}",(?P<key>\S+)\)\n(?P<text>.*?)'
    r"^\.endif\n# end of (?P=key) (?P<digest>[0-9a-f]+)\n",
    re.MULTILINE | re.DOTALL,
)
# No configuration has a block of this key. One with the mistake may be left over: HAProxy passes
# over its only line, as it does with few others (3.0 to 3.4 count quotes in what isn't chosen).
NO_BLOCK = "none"
MISTAKE = "fs-no-such-section"


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
        self._digest = ""
        self._look_at = 0.0
        # How often it was said that the file may be another.
        self._doubts = 0
        self._lock = asyncio.Lock()

    async def look(self) -> None:
        """See whether there is such a file."""
        self.is_stored = any(file.name == NAME for file in await self._storage.general())
        self.forget()

    def forget(self) -> None:
        """The file may be another by now."""
        self._blocks = None
        self._doubts += 1

    async def put(self, key: str, text: str, *, alone: bool, running: str | None) -> int:
        """Write a block; returns the bytes written, 0 if nothing is another.

        Unless it is `alone`, that of what is `running` stays beside it, and the newest others.
        """
        async with self._lock:
            doubts, stored = self._doubts, self._blocks
            before = await self._read() if stored is None and not alone else stored or {}
            others = [] if alone else [other for other in before if other not in {key, MISTAKE}]
            kept = {running, *others[-_KEPT:]}
            blocks = {other: before[other] for other in others if other in kept} | {key: text}
            if blocks == stored:
                return 0
            self._blocks = None
            content = await asyncio.to_thread(_content, blocks)
            await self._storage.replace_general(NAME, content)
            self._digest = await asyncio.to_thread(_digest, content)
            if doubts == self._doubts:
                self._blocks = blocks
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
            finally:
                took = time.monotonic() - began
                self._look_at = began + max(_LOOK_SECONDS, took * _LOOK_RARITY)
            return await asyncio.to_thread(_digest, content) != self._digest

    async def _read(self) -> dict[str, str]:
        try:
            content = await self._storage.general_content(NAME)
        except AbsentError:
            return {}
        return await asyncio.to_thread(_blocks_in, content)


def _blocks_in(content: bytes) -> dict[str, str]:
    """Those that are as they were written: what somebody put into one may not even be skipped."""
    text = content.decode("utf-8", "replace")
    return {
        found["key"]: found["text"]
        for found in _BLOCK.finditer(text)
        if found["digest"] == _digest(found["text"].encode())
    }


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _content(blocks: dict[str, str]) -> bytes:
    parts = (
        f'.if streq("${_VARIABLE}",{key})\n{text}.endif\n# end of {key} {_digest(text.encode())}\n'
        for key, text in blocks.items()
    )
    return "\n".join([_HEAD, *parts]).encode()
