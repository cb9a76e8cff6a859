"""Map entries of the running worker, through the API. Maps are called by their file's base name."""

from __future__ import annotations

import re

import msgspec

from frontserver.dataplane import words
from frontserver.dataplane.calls import BASE, RuntimeCalls
from frontserver.dataplane.connection import decoded


class _Entry(msgspec.Struct):
    key: str
    value: str


class _Loaded(msgspec.Struct):
    storage_name: str = ""
    description: str = ""


# `show map`, as the API hands it on.
_COUNT = re.compile(r"\bentry_cnt=([0-9]+)")

_loaded = msgspec.json.Decoder(list[_Loaded])
_entry = msgspec.json.Decoder(_Entry)
_entries = msgspec.json.Decoder(list[_Entry])


class Maps(RuntimeCalls):
    """Reads and writes entries in HAProxy's memory; files stay as they are.

    Keys and values that the API or HAProxy would misread raise `UnsayableError` before anything
    is sent.
    """

    async def map_sizes(self) -> dict[str, int]:
        """How many entries each map has, by its file's base name."""
        answer = await self._expect(await self._send("GET", f"{BASE}/maps"), 200)
        sizes: dict[str, int] = {}
        for loaded in decoded(answer, _loaded):
            if (count := _COUNT.search(loaded.description)) is not None:
                sizes[loaded.storage_name] = int(count[1])
        return sizes

    async def entries(self, map: str) -> list[tuple[str, str]]:  # noqa: A002
        """A whole map, in HAProxy's order. Raises `AbsentError`.

        The API cuts values at their first space.
        """
        answer = await self._send("GET", _all(map), seconds=self._connection.seconds)
        found = decoded(await self._expect(answer, 200), _entries)
        return [(entry.key, entry.value) for entry in found]

    async def entry(self, map: str, key: str) -> str | None:  # noqa: A002
        """The value of a key, `None` if absent.

        The API takes HAProxy's answer apart at commas and `=`: a value is cut at its first one,
        and absent if that leaves nothing. A key that has one is looked up in the whole map.
        """
        if not words.readable(key):
            return next((value for name, value in await self.entries(map) if name == key), None)
        answer = await self._send("GET", _one(map, key))
        return decoded(answer, _entry).value if await self._found(answer, 200) else None

    async def add_entry(self, map: str, key: str, value: str) -> bool:  # noqa: A002
        """Add an entry; false if the key is there.

        Where `entry` can't read what is there, the API doesn't see it and adds a second entry.
        """
        body = msgspec.json.encode({"key": words.key(key), "value": words.value(value)})
        return await self._added(await self._send("POST", _all(map), body))

    async def set_entry(self, map: str, key: str, value: str) -> bool:  # noqa: A002
        """Change all entries of a key; false if absent."""
        body = msgspec.json.encode({"value": words.value(value)})
        answer = await self._send("PUT", _one(map, key), body)
        # HAProxy has taken it, and the API can't read it back.
        if answer.status == 404 and not answer.body:
            return True
        return await self._found(answer, 200)

    async def delete_entry(self, map: str, key: str) -> bool:  # noqa: A002
        """Delete all entries of a key; false if absent."""
        return await self._found(await self._send("DELETE", _one(map, key)), 204)


def _all(map: str) -> str:  # noqa: A002
    return f"{BASE}/maps/{words.segment(words.name(map))}/entries"


def _one(map: str, key: str) -> str:  # noqa: A002
    return f"{_all(map)}/{words.segment(words.key(key))}"
