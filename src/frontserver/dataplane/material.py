"""Certificates, crt-lists and CA bundles in the running worker's memory, through the API."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from frontserver.dataplane import multipart, words
from frontserver.dataplane.calls import BASE, RuntimeCalls
from frontserver.dataplane.connection import Answer, decoded, refused
from frontserver.dataplane.errors import DataPlaneError, UnsayableError

_CA_FILES = f"{BASE}/ssl_ca_files"
_CERTIFICATES = f"{BASE}/ssl_certs"
_ENTRIES = f"{BASE}/ssl_crt_lists/entries"
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)
# HAProxy's command line takes a buffer of 16 KiB, command and all.
PAYLOAD_BYTES = 14_000


class _Named(msgspec.Struct):
    storage_name: str


class _ListEntry(msgspec.Struct):
    file: str


_names = msgspec.json.Decoder(tuple[_Named, ...])
_list_entries = msgspec.json.Decoder(tuple[_ListEntry, ...])


class Material(RuntimeCalls):
    """What HAProxy holds of TLS material. Certificates and crt-lists are called by full paths."""

    async def ca_files(self) -> tuple[str, ...]:
        """Names of the CA bundles in memory."""
        answer = await self._expect(await self._send("GET", _CA_FILES), 200)
        return tuple(named.storage_name for named in decoded(answer, _names))

    async def put_ca_file(self, name: str, pem: str) -> None:
        """Have a CA bundle in memory, replaced if it is there.

        A bundle beyond 14 kB takes several calls, and holds only a part in between. Raises
        `UnsayableError` for one certificate of more than that.
        """
        first, *others = _payloads(pem)
        if name in await self.ca_files():
            path = f"{_CA_FILES}/{words.segment(name)}"
            await self._upload("PUT", path, name, first, 200, 201)
        else:
            await self._upload("POST", _CA_FILES, name, first, 201)
        for payload in others:
            path = f"{_CA_FILES}/{words.segment(name)}/entries"
            await self._upload("POST", path, name, payload, 201)

    async def delete_ca_file(self, name: str) -> bool:
        """False if absent. Raises `BusyError` while it is used."""
        path = f"{_CA_FILES}/{words.segment(name)}"
        return await self._deleted(await self._send("DELETE", path))

    async def certificates(self) -> tuple[str, ...]:
        """Full paths of the certificates in memory."""
        answer = await self._expect(await self._send("GET", _CERTIFICATES), 200)
        return tuple(named.storage_name for named in decoded(answer, _names))

    async def delete_certificate(self, path: str) -> bool:
        """Forget a certificate; false if absent. Raises `BusyError` while a crt-list names it."""
        where = f"{_CERTIFICATES}/{words.segment(path)}"
        return await self._deleted(await self._send("DELETE", where))

    async def crt_list_entries(self, crt_list: str) -> tuple[str, ...]:
        """The certificates of a crt-list, by full path. Raises `AbsentError`."""
        answer = await self._send("GET", f"{_ENTRIES}?name={words.segment(crt_list)}")
        found = decoded(await self._expect(answer, 200), _list_entries)
        return tuple(entry.file for entry in found)

    async def put_crt_list_entry(self, crt_list: str, certificate: str) -> None:
        """Serve a certificate that is in memory; one that is served already is fine.

        Its own names decide when: with filters the API would stop for half a minute.
        """
        if certificate in await self.crt_list_entries(crt_list):
            return
        path = f"{_ENTRIES}?name={words.segment(crt_list)}"
        body = msgspec.json.encode({"file": certificate})
        await self._expect(await self._send("POST", path, body), 201)

    async def delete_crt_list_entry(self, crt_list: str, certificate: str) -> bool:
        """Serve a certificate no longer; false if it wasn't."""
        query = f"?name={words.segment(crt_list)}&cert_file={words.segment(certificate)}"
        return await self._deleted(await self._send("DELETE", _ENTRIES + query))

    async def _upload(self, method: str, path: str, name: str, pem: str, *statuses: int) -> None:
        # A payload ends with an empty line. Without it the API waits for HAProxy for 30 s, and
        # every other runtime call with it.
        content = (pem.rstrip("\n") + "\n\n").encode()
        body, media_type = multipart.one_file(words.name(name), content)
        answer = await self._send(
            method, path, body, media_type=media_type, seconds=self._connection.seconds
        )
        await self._expect(answer, *statuses)

    async def _deleted(self, answer: Answer) -> bool:
        if answer.status == 500:
            error = refused(answer)
            if isinstance(error, DataPlaneError) and "doesn't exist" in error.message:
                return False
        return await self._found(answer, 204)


def _payloads(pem: str) -> list[str]:
    """The certificates, as few payloads as HAProxy takes; they must be PEM."""
    return list(_packed(pem)) or [pem]


def _packed(pem: str) -> Iterator[str]:
    payload = ""
    for certificate in _CERTIFICATE.findall(pem):
        if len(certificate) > PAYLOAD_BYTES:
            # HAProxy would take its end for commands.
            raise UnsayableError(
                f"the Data Plane API can't carry a certificate of {len(certificate)} bytes"
            )
        if payload and len(payload) + len(certificate) > PAYLOAD_BYTES:
            yield payload
            payload = ""
        payload += certificate
    if payload:
        yield payload
