"""Files that the API keeps for HAProxy: maps, certificates, crt-lists, and others."""

from __future__ import annotations

import msgspec

from frontserver.dataplane import multipart, words
from frontserver.dataplane.connection import Connection, accepted, decoded, refused
from frontserver.dataplane.errors import AbsentError

_BASE = "/services/haproxy/storage"
_MAPS = f"{_BASE}/maps"
_CERTIFICATES = f"{_BASE}/ssl_certificates"
_CRT_LISTS = f"{_BASE}/ssl_crt_lists"
_GENERAL = f"{_BASE}/general"
_SKIP = "?skip_reload=true"
_PLAIN = "text/plain"


class StoredFile(msgspec.Struct, frozen=True):
    """`path` is the absolute name by which HAProxy reads it."""

    name: str = msgspec.field(name="storage_name")
    path: str = msgspec.field(name="file")


_file = msgspec.json.Decoder(StoredFile)
_files = msgspec.json.Decoder(tuple[StoredFile, ...])


class Storage:
    """Lists, writes and deletes stored files. Nothing here reloads HAProxy.

    Every write replaces a whole file, so it is repeated when a connection is lost. Names are base
    names with their ending (`.map` is added to a map's by the API if it is missing).
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def maps(self) -> tuple[StoredFile, ...]:
        """All map files."""
        return await self._list(_MAPS)

    async def map_text(self, name: str) -> str:
        """What a map file holds. Raises `AbsentError`."""
        path = f"{_MAPS}/{words.segment(words.name(name))}"
        answer = accepted(await self._connection.send("GET", path), 200)
        return answer.body.decode("utf-8", "replace")

    async def create_map(self, name: str, text: str) -> StoredFile:
        """Write a map file that may not be there yet. What HAProxy has in memory stays."""
        return await self._create(_MAPS, name, text.encode())

    async def replace_map(self, name: str, text: str) -> None:
        """Write a map file, made if absent. What HAProxy has in memory stays as it is."""
        # The API takes no empty body; HAProxy passes over empty lines.
        content = text.encode() or b"\n"
        if not await self._replace(_MAPS, name, content, 204):
            await self._create(_MAPS, name, content)

    async def delete_map(self, name: str) -> bool:
        """False if absent. Raises `BusyError` if the configuration names it."""
        return await self._delete(_MAPS, name)

    async def certificates(self) -> tuple[StoredFile, ...]:
        """All PEM files."""
        return await self._list(_CERTIFICATES)

    async def create_certificate(self, name: str, pem: str) -> StoredFile:
        """Write a PEM file, on disk and in HAProxy's memory; a key must belong to its certificate.

        Neither the API nor HAProxy refuses a pair that doesn't match before the next reload fails.
        """
        return await self._create(_CERTIFICATES, name, _ended(pem))

    async def replace_certificate(self, name: str, pem: str) -> None:
        """Write a PEM file, made if absent; where it is served, it is at once."""
        content = _ended(pem)
        if not await self._replace(_CERTIFICATES, name, content, 200):
            await self._create(_CERTIFICATES, name, content)

    async def delete_certificate(self, name: str) -> bool:
        """False if absent. The API doesn't see whether a crt-list names it."""
        return await self._delete(_CERTIFICATES, name, _SKIP)

    async def crt_lists(self) -> tuple[StoredFile, ...]:
        """All crt-lists."""
        return await self._list(_CRT_LISTS)

    async def create_crt_list(self, name: str, text: str) -> StoredFile:
        """Write a crt-list that may not be there yet; a new one makes the API reload HAProxy soon.

        It has no way to create one without: see `put_general` for a file that it doesn't load.
        """
        return await self._create(_CRT_LISTS, name, _ended(text or "# empty"))

    async def replace_crt_list(self, name: str, text: str) -> None:
        """Write a crt-list, made if absent. What HAProxy has in memory stays as it is."""
        content = _ended(text or "# empty")
        if not await self._replace(_CRT_LISTS, name, content, 200):
            await self._create(_CRT_LISTS, name, content)

    async def delete_crt_list(self, name: str) -> bool:
        """False if absent."""
        return await self._delete(_CRT_LISTS, name, _SKIP)

    async def general(self) -> tuple[StoredFile, ...]:
        """All other files."""
        return await self._list(_GENERAL)

    async def put_general(self, name: str, content: bytes) -> StoredFile:
        """Write a file that HAProxy reads at its next reload, such as CA certificates."""
        return await self._create(_GENERAL, name, content)

    async def delete_general(self, name: str) -> bool:
        """False if absent. Raises `BusyError` if the configuration names it."""
        return await self._delete(_GENERAL, name)

    async def _list(self, kind: str) -> tuple[StoredFile, ...]:
        return decoded(await self._connection.send("GET", kind), _files)

    async def _create(self, kind: str, name: str, content: bytes) -> StoredFile:
        body, media_type = multipart.one_file(words.name(name), content)
        answer = await self._connection.send(
            "POST", kind, body=body, media_type=media_type, safe=True
        )
        if answer.status == 409:
            await self._overwrite(kind, name, content)
            return await self._find(kind, name)
        accepted(answer, 201, 202)
        return decoded(answer, _file, answer.status)

    async def _overwrite(self, kind: str, name: str, content: bytes) -> None:
        if not await self._replace(kind, name, content, 204 if kind in {_MAPS, _GENERAL} else 200):
            raise AbsentError(f"{name} was deleted while it was written", status=404)

    async def _replace(self, kind: str, name: str, content: bytes, status: int) -> bool:
        if kind == _GENERAL:
            body, media_type = multipart.one_file(words.name(name), content)
        else:
            body, media_type = content or b"\n", _PLAIN
        path = f"{kind}/{words.segment(words.name(name))}{_SKIP}"
        answer = await self._connection.send(
            "PUT", path, body=body, media_type=media_type, safe=True
        )
        if answer.status == status:
            return True
        return _absent_or_raise(refused(answer))

    async def _find(self, kind: str, name: str) -> StoredFile:
        for stored in await self._list(kind):
            if stored.name == name:
                return stored
        raise AbsentError(f"{name} was deleted while it was written", status=404)

    async def _delete(self, kind: str, name: str, query: str = "") -> bool:
        path = f"{kind}/{words.segment(words.name(name))}{query}"
        answer = await self._connection.send("DELETE", path)
        if answer.status in {202, 204}:
            return True
        return _absent_or_raise(refused(answer))


def _absent_or_raise(error: Exception) -> bool:
    if isinstance(error, AbsentError):
        return False
    raise error


def _ended(text: str) -> bytes:
    """Ends with a newline: else the API, and all runtime calls, wait 30 s for HAProxy."""
    return (text if text.endswith("\n") else text + "\n").encode()
