"""The configuration file through the API: whole, by section, in transactions; and reloads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from frontserver.dataplane import words
from frontserver.dataplane.connection import Answer, Connection, accepted, decoded, refused
from frontserver.dataplane.errors import (
    AbsentError,
    DataPlaneError,
    UnsayableError,
)

_BASE = "/services/haproxy/configuration"
_RAW = f"{_BASE}/raw"
_TRANSACTIONS = "/services/haproxy/transactions"
_RELOADS = "/services/haproxy/reloads"
# Somebody else's part of the file may be in any encoding, and stays byte for byte.
_FOREIGN = "surrogateescape"
_VERSION_LINE = re.compile(r"^# _version=(\d+)$", re.MULTILINE)
_BAD_IN_ACTION = re.compile(r"[^\x20-\x7e]|;")

SectionKind = Literal["defaults", "frontends", "backends"]


class RawConfiguration(msgspec.Struct, frozen=True):
    """The file on disk with its checksum, and the version that the API has in memory."""

    text: str
    version: int
    checksum: str

    @property
    def version_on_disk(self) -> int | None:
        """What the file says of itself; another one than `version` means that a reload failed."""
        found = _VERSION_LINE.search(self.text)
        return int(found[1]) if found else None


class Transaction(msgspec.Struct, frozen=True):
    """`status` is `in_progress`, `failed` or `outdated`; without a version it is dead."""

    id: str
    status: str
    version: int | None = msgspec.field(default=None, name="_version")


class Reload(msgspec.Struct, frozen=True):
    """`status` is `in_progress`, `succeeded` or `failed`; `response` is HAProxy's log."""

    id: str
    status: str
    response: str = ""


_version = msgspec.json.Decoder(int)
_transaction = msgspec.json.Decoder(Transaction)
_transactions = msgspec.json.Decoder(tuple[Transaction, ...])
_reload = msgspec.json.Decoder(Reload)
_reloads = msgspec.json.Decoder(tuple[Reload, ...])
_section = msgspec.json.Decoder(dict[str, Any])


class Configuration:
    """Reads and writes the file that the API owns, with HAProxy's check and reload."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def version(self) -> int:
        """The version in the API's memory. It may go down: no monotonic counter."""
        return decoded(await self._connection.send("GET", f"{_BASE}/version"), _version)

    async def raw(self) -> RawConfiguration:
        """The whole file; the checksum is empty for a file that the API never wrote."""
        answer = accepted(await self._connection.send("GET", _RAW, seconds=self._patience), 200)
        return RawConfiguration(
            text=answer.body.decode("utf-8", _FOREIGN),
            version=_known(answer),
            checksum=answer.header("configuration-checksum") or "",
        )

    async def replace_raw(
        self, text: str, *, version: int, reload: bool, actions: Sequence[str] = ()
    ) -> int:
        """Write the whole file, if its version is still `version`; returns the new one.

        With `reload` HAProxy has loaded it when this returns; without, `actions` are carried out at
        run time, in order, such as `SetServerState cp_r1 s1 ready`. Raises `ConfigRejectedError`
        (nothing changed), `ReloadFailedError` (HAProxy runs what it ran, the API's memory is
        ahead), `RuntimeActionError` (written, and some actions not done), `VersionConflictError`,
        and `OutcomeUnknownError`. It is never repeated here.
        """
        answer = await self._connection.send(
            "POST",
            f"{_RAW}?version={version}&{'force_reload' if reload else 'skip_reload'}=true",
            body=text.encode("utf-8", _FOREIGN),
            media_type="text/plain",
            headers=_with_actions(actions, reload),
            seconds=self._patience,
        )
        return _known(accepted(answer, 201))

    async def validate_raw(self, text: str) -> None:
        """Have HAProxy check a whole file; nothing is kept. Raises `ConfigRejectedError`."""
        answer = await self._connection.send(
            "POST",
            f"{_RAW}?only_validate=true&skip_version=true",
            body=text.encode("utf-8", _FOREIGN),
            media_type="text/plain",
            seconds=self._patience,
            safe=True,
        )
        accepted(answer, 202)

    async def transactions(self) -> tuple[Transaction, ...]:
        """All that are kept, the failed and outdated ones too."""
        return decoded(await self._connection.send("GET", _TRANSACTIONS), _transactions)

    async def begin(self, version: int) -> Transaction:
        """Open a transaction on `version`.

        Raises `VersionConflictError`, and `TooManyTransactionsError` until some are deleted.
        """
        answer = await self._connection.send("POST", f"{_TRANSACTIONS}?version={version}")
        return decoded(answer, _transaction, 201)

    async def commit(self, id: str) -> None:  # noqa: A002
        """Check, write and load a transaction; HAProxy runs it when this returns.

        Raises as `replace_raw` does; `AbsentError` for one that was committed before.
        """
        answer = await self._connection.send(
            "PUT",
            f"{_TRANSACTIONS}/{words.segment(id)}?force_reload=true",
            seconds=self._patience,
        )
        accepted(answer, 200)

    async def delete_transaction(self, id: str) -> None:  # noqa: A002
        """Delete a transaction and its copy of the file; one that is gone is fine."""
        answer = await self._connection.send(
            "DELETE", f"{_TRANSACTIONS}/{words.segment(id)}", safe=True
        )
        if answer.status != 204:
            _unless_absent(answer)

    async def get_section(
        self, kind: SectionKind, name: str, transaction: str | None = None
    ) -> dict[str, Any]:
        """A section with all that is in it, as the API's JSON. Raises `AbsentError`."""
        query = f"&transaction_id={words.segment(transaction)}" if transaction else ""
        path = f"{_BASE}/{kind}/{words.segment(name)}?full_section=true{query}"
        return decoded(await self._connection.send("GET", path), _section)

    async def put_section(
        self, kind: SectionKind, name: str, body: Mapping[str, object], transaction: str
    ) -> None:
        """Replace a section, or add it: what `body` omits goes.

        After any error the transaction must be deleted: an empty section may be left in it.
        """
        where = f"full_section=true&transaction_id={words.segment(transaction)}"
        content = msgspec.json.encode({**body, "name": name})
        path = f"{_BASE}/{kind}"
        one = f"{path}/{words.segment(name)}?{where}"
        answer = await self._connection.send("PUT", one, body=content, seconds=self._patience)
        if answer.status == 404:
            _unless_absent(answer)
            answer = await self._connection.send(
                "POST", f"{path}?{where}", body=content, seconds=self._patience
            )
        accepted(answer, 200, 201, 202)

    async def reloads(self) -> tuple[Reload, ...]:
        """The deferred reloads since the API's start; ours are forced and aren't among them."""
        return decoded(await self._connection.send("GET", _RELOADS), _reloads)

    async def reload(self, id: str) -> Reload:  # noqa: A002
        """One deferred reload, or `AbsentError`; ids mean nothing after a restart of the API."""
        answer = await self._connection.send("GET", f"{_RELOADS}/{words.segment(id)}")
        return decoded(answer, _reload)

    @property
    def _patience(self) -> float:
        return self._connection.write_seconds


def _with_actions(actions: Sequence[str], reload: bool) -> dict[str, str]:
    if not actions:
        return {}
    if reload:
        raise UnsayableError("runtime actions go with a write that doesn't reload")
    for action in actions:
        bad = _BAD_IN_ACTION.search(action)
        if bad:
            raise UnsayableError(f"a runtime action can't hold {bad[0]!r}: {action!r}")
    return {"X-Runtime-Actions": ";".join(actions)}


def _unless_absent(answer: Answer) -> None:
    error = refused(answer)
    if not isinstance(error, AbsentError):
        raise error


def _known(answer: Answer) -> int:
    if answer.version is None:
        raise DataPlaneError(
            "the Data Plane API doesn't name its configuration's version", status=answer.status
        )
    return answer.version
