"""Files that the API keeps for HAProxy: maps, certificates, crt-lists, and others."""

from __future__ import annotations

import msgspec

from frontserver.dataplane import multipart, words
from frontserver.dataplane.connection import Answer, Connection, accepted, decoded, refused
from frontserver.dataplane.errors import AbsentError
from frontserver.dataplane.material import Material

_BASE = "/services/haproxy/storage"
_NO_RELOAD = "?skip_reload=true"


class StoredFile(msgspec.Struct, frozen=True):
    """`path` is the absolute name by which HAProxy reads it.

    `reload` is the id of the reload that the API will do by itself, if what was written takes
    effect only so.
    """

    name: str = msgspec.field(name="storage_name")
    path: str = msgspec.field(name="file")
    reload: str | None = None


class _Kind(msgspec.Struct, frozen=True):
    path: str
    suffix: str = ""
    replacing: str = _NO_RELOAD
    deleting: str = ""
    multipart: bool = False


# The API lists and takes map files and crt-lists only under such names.
_MAPS = _Kind(f"{_BASE}/maps", ".map")
# Without the parameter it hands a certificate to HAProxy at run time.
_CERTIFICATES = _Kind(f"{_BASE}/ssl_certificates", replacing="", deleting=_NO_RELOAD)
_CRT_LISTS = _Kind(f"{_BASE}/ssl_crt_lists", ".txt", deleting=_NO_RELOAD)
_GENERAL = _Kind(f"{_BASE}/general", multipart=True)

_file = msgspec.json.Decoder(StoredFile)
_files = msgspec.json.Decoder(tuple[StoredFile, ...])


class Storage:
    """Lists, writes and deletes stored files.

    Names are base names: letters, digits, `_` and `-`, and one ending, or `UnsayableError` is
    raised (the API would store the file under another name). Every write is of a whole file,
    so it is repeated if the connection is lost.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def maps(self) -> tuple[StoredFile, ...]:
        """All map files."""
        return await self._list(_MAPS)

    async def map_text(self, name: str) -> str:
        """What a map file holds. Raises `AbsentError`."""
        path = f"{_MAPS.path}/{words.segment(words.name(name))}"
        answer = accepted(await self._connection.send("GET", path), 200)
        return answer.body.decode("utf-8", "replace")

    async def create_map(self, name: str, text: str) -> StoredFile:
        """Write a map file that may not be there yet. What HAProxy has in memory stays."""
        return await self._create(_MAPS, name, text.encode())

    async def replace_map(self, name: str, text: str) -> None:
        """Write a map file, made if absent. What HAProxy has in memory stays."""
        await self._replace(_MAPS, name, text.encode())

    async def load_map(self, name: str, text: str) -> None:
        """Write a map file that is there, and have HAProxy load that and its configuration.

        It runs them when this returns. Raises as `Configuration.replace_raw` does with `reload`;
        the map is written then all the same. It is never repeated here.
        """
        answer = await self._connection.send(
            "PUT",
            self._at(_MAPS, name, "?force_reload=true"),
            body=text.encode() or b"\n",
            media_type="text/plain",
            seconds=self._connection.write_seconds,
        )
        accepted(answer, 204)

    async def delete_map(self, name: str) -> bool:
        """False if absent. Raises `BusyError` if the configuration names it."""
        return await self._delete(_MAPS, name)

    async def certificates(self) -> tuple[StoredFile, ...]:
        """All PEM files."""
        return await self._list(_CERTIFICATES)

    async def create_certificate(self, name: str, pem: str) -> StoredFile:
        """Write a PEM file that may not be there yet, on disk and in HAProxy's memory.

        HAProxy may refuse it at run time (too large, a key of another certificate). Then the API
        reloads by itself, see `StoredFile.reload`, and a pair that doesn't match makes that and
        every later reload fail: check it before.
        """
        content = _ended(pem)
        created = await self._created(_CERTIFICATES, name, content)
        if created:
            return created
        stored = await self._find(_CERTIFICATES, name)
        if stored.path not in await Material(self._connection).certificates():
            # The API can only change what HAProxy has; else it would reload.
            await self._delete(_CERTIFICATES, name)
        return await self._create(_CERTIFICATES, name, content)

    async def replace_certificate(self, name: str, pem: str) -> str | None:
        """Write a PEM file, made if absent; where it is served, it is at once.

        Returns the id of the reload that the API does instead, if HAProxy refuses it at run time
        or doesn't have it.
        """
        return await self._replace(_CERTIFICATES, name, _ended(pem))

    async def delete_certificate(self, name: str) -> bool:
        """False if absent. The API doesn't see whether a crt-list names it."""
        return await self._delete(_CERTIFICATES, name)

    async def crt_lists(self) -> tuple[StoredFile, ...]:
        """All crt-lists."""
        return await self._list(_CRT_LISTS)

    async def create_crt_list(self, name: str, text: str) -> StoredFile:
        """Write a crt-list that may not be there yet; a new one makes the API reload by itself."""
        return await self._create(_CRT_LISTS, name, _listed(text))

    async def replace_crt_list(self, name: str, text: str) -> str | None:
        """Write a crt-list, made if absent (see `create_crt_list`); what HAProxy serves stays."""
        return await self._replace(_CRT_LISTS, name, _listed(text))

    async def delete_crt_list(self, name: str) -> bool:
        """False if absent. Raises `BusyError` if the configuration names it."""
        return await self._delete(_CRT_LISTS, name)

    async def general(self) -> tuple[StoredFile, ...]:
        """All other files."""
        return await self._list(_GENERAL)

    async def general_content(self, name: str) -> bytes:
        """What such a file holds. Raises `AbsentError`."""
        answer = await self._connection.send("GET", self._at(_GENERAL, name, ""))
        return accepted(answer, 200).body

    async def put_general(self, name: str, content: bytes) -> StoredFile:
        """Write a file that HAProxy reads at its next reload, such as CA certificates."""
        return await self._create(_GENERAL, name, content)

    async def replace_general(self, name: str, content: bytes) -> None:
        """The same for one that is there already, as a rule: what is sent is sent once."""
        await self._replace(_GENERAL, name, content)

    async def delete_general(self, name: str) -> bool:
        """False if absent. Raises `BusyError` if the configuration names it."""
        return await self._delete(_GENERAL, name)

    async def _list(self, kind: _Kind) -> tuple[StoredFile, ...]:
        return decoded(await self._connection.send("GET", kind.path), _files)

    async def _create(self, kind: _Kind, name: str, content: bytes) -> StoredFile:
        created = await self._created(kind, name, content)
        if created:
            return created
        reload = await self._overwrite(kind, name, content)
        return msgspec.structs.replace(await self._find(kind, name), reload=reload)

    async def _created(self, kind: _Kind, name: str, content: bytes) -> StoredFile | None:
        """`None` if it is there already."""
        body, media_type = multipart.one_file(words.file_name(name, kind.suffix), content)
        answer = await self._connection.send(
            "POST", kind.path, body=body, media_type=media_type, safe=True
        )
        if answer.status == 409:
            return None
        accepted(answer, 201, 202)
        stored = decoded(answer, _file, answer.status)
        return msgspec.structs.replace(stored, reload=_reload(answer))

    async def _replace(self, kind: _Kind, name: str, content: bytes) -> str | None:
        try:
            return await self._overwrite(kind, name, content)
        except AbsentError:
            return (await self._create(kind, name, content)).reload

    async def _overwrite(self, kind: _Kind, name: str, content: bytes) -> str | None:
        """Raises `AbsentError`."""
        media_type = "text/plain"
        # The API takes no empty text; HAProxy passes over empty lines.
        body = content or b"\n"
        if kind.multipart:
            body, media_type = multipart.one_file(name, content)
        answer = await self._connection.send(
            "PUT", self._at(kind, name, kind.replacing), body=body, media_type=media_type, safe=True
        )
        return _reload(accepted(answer, 200, 202, 204))

    async def _find(self, kind: _Kind, name: str) -> StoredFile:
        for stored in await self._list(kind):
            if stored.name == name:
                return stored
        raise AbsentError(f"{name} was deleted while it was written", status=404)

    async def _delete(self, kind: _Kind, name: str) -> bool:
        answer = await self._connection.send("DELETE", self._at(kind, name, kind.deleting))
        if answer.status == 404:
            error = refused(answer)
            if isinstance(error, AbsentError):
                return False
            raise error
        accepted(answer, 202, 204)
        return True

    @staticmethod
    def _at(kind: _Kind, name: str, query: str) -> str:
        return f"{kind.path}/{words.file_name(name, kind.suffix)}{query}"


def _reload(answer: Answer) -> str | None:
    return answer.header("reload-id")


def _ended(text: str) -> bytes:
    """Ends with a newline: else the API, and all runtime calls, wait 30 s for HAProxy."""
    return (text if text.endswith("\n") else text + "\n").encode()


def _listed(text: str) -> bytes:
    # An empty crt-list makes the API fail.
    return _ended(text or "# empty")
