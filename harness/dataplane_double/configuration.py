"""What the Data Plane knows of the configuration: in memory, which isn't always what is on disk."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from harness.dataplane_double import check, document
from harness.dataplane_double.document import Document, Section
from harness.dataplane_double.errors import ApiError, absent, version_mismatch
from harness.dataplane_double.files import replace
from harness.dataplane_double.settings import Settings
from harness.dataplane_double.transactions import TransactionFiles

T = TypeVar("T")
Json = dict[str, Any]


class Configuration:
    """The configuration in memory, the open transactions beside it, and the file of both.

    A commit makes a transaction the memory and writes the file; whether HAProxy ever takes it is
    another matter, and nobody takes it back from memory if HAProxy doesn't.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._files = TransactionFiles(settings.transactions, settings.config)
        self._committing = threading.Lock()
        # Who asks for a commit waits for the one before, and then finds itself outdated.
        self._queue = threading.Lock()
        self._open: dict[str, Document] = {}
        self.memory = Document()
        self.read()

    def read(self) -> None:
        """Read the file anew, and the open transactions."""
        self.memory = document.parse(self._settings.config.read_text(), derive=True)
        self.memory.disclaim()
        for transaction, status in self._files.listed():
            if status == "in_progress":
                text = self._files.path(transaction).read_text()
                self._open.setdefault(transaction, document.parse(text))

    def read_edited(self) -> None:
        """Somebody else wrote the file: read it, and write it with the next version."""
        self.read()
        self.memory.version += 1
        self._write(self.memory)

    # --- looking ---

    def version(self, transaction: str | None = None) -> int:
        """The version in memory, or of a transaction. Raises `ApiError`."""
        return self.document(transaction).version

    def document(self, transaction: str | None = None) -> Document:
        """Memory, or an open transaction. Raises `ApiError`."""
        if not transaction:
            return self.memory
        found = self._open.get(transaction)
        if found is None:
            raise ApiError(400, f"transaction does not exist: {transaction}")
        return found

    def raw(self, transaction: str | None = None) -> str:
        """The text on disk. Raises `ApiError`."""
        path = self._files.path(transaction) if transaction else self._settings.config
        try:
            return path.read_text()
        except OSError as error:
            raise ApiError(500, f"failed to read configuration: {error}") from error

    def transactions(self, status: str | None = None) -> list[Json]:
        """All transactions, or those of a status."""
        listed = self._files.listed()
        return [self._shown(tx, state) for tx, state in listed if status in {None, state}]

    def transaction(self, transaction: str) -> Json:
        """One transaction. Raises `ApiError`."""
        found = self._files.find(transaction)
        if found is None:
            raise ApiError(
                404,
                f"transaction does not exist: transaction {transaction} does not exist",
            )
        return self._shown(transaction, found[1])

    def _shown(self, transaction: str, status: str) -> Json:
        opened = self._open.get(transaction)
        version = {"_version": opened.version} if opened is not None else {}
        return {**version, "id": transaction, "status": status}

    # --- transactions ---

    def start(self, version: int) -> Json:
        """Open a transaction on this version. Raises `ApiError`, `OSError`."""
        limit = self._settings.max_transactions
        if len(self.transactions("in_progress")) >= limit:
            raise ApiError(
                429,
                "cannot start a new transaction, reached the maximum amount of "
                f"{limit} active transactions available",
            )
        transaction = self._start(version)
        return {"_version": version, "id": transaction, "status": "in_progress"}

    def _start(self, version: int | None) -> str:
        transaction, text = self._begin(version)
        self._open[transaction] = document.parse(text)
        return transaction

    def _begin(self, version: int | None) -> tuple[str, str]:
        """A transaction's file, and the text in it; the version may be any if it is `None`."""
        known = self.memory
        if version is not None and version != known.version:
            raise version_mismatch(known.version, version)
        transaction, text = str(uuid.uuid4()), known.render_with_hash()
        self._files.write(transaction, text)
        return transaction, text

    def delete(self, transaction: str) -> None:
        """Forget a transaction of any status. Raises `ApiError`."""
        if not self._files.remove(transaction):
            raise ApiError(
                404,
                f"transaction does not exist: transaction file {transaction} does not exist",
            )
        self._open.pop(transaction, None)

    def commit(self, transaction: str) -> Json:
        """Commit an open transaction; those on the same version are too late then.

        Raises `ApiError`: 404, 406, 409, or 400 if HAProxy refuses it.
        """
        with self._queue:
            status = self.transaction(transaction)["status"]
            if status != "in_progress":
                words = f"transaction {transaction} is {status} and cannot be committed"
                raise ApiError(406, words)
            version = self._commit(transaction)
            for other, opened in list(self._open.items()):
                if opened.version <= version:
                    self._drop(other, "outdated")
        return {"_version": version, "id": transaction, "status": "success"}

    def _commit(self, transaction: str, *, any_version: bool = False) -> int:
        with self._committing:
            changed = self.document(transaction)
            base = changed.version
            if not any_version and base != self.memory.version:
                known = self.memory.version
                self._drop(transaction, "outdated")
                raise ApiError(
                    409,
                    "version mismatch: version mismatch, transaction version: "
                    f"{base}, configured version: {known}",
                )
            candidate = self._files.write(transaction, changed.render_with_hash())
            try:
                check.check(self._settings, candidate, transaction)
                changed.version += 0 if any_version else 1
                self._write(changed)
            except (ApiError, OSError):
                self._drop(transaction, "failed")
                raise
            self.memory = changed
            self._files.remove(transaction)
            self._open.pop(transaction, None)
            return base

    def _drop(self, transaction: str, status: str) -> None:
        self._files.move(transaction, "failed" if status == "failed" else "outdated")
        self._open.pop(transaction, None)

    def _write(self, changed: Document) -> None:
        replace(self._settings.config, changed.render_with_hash().encode())

    # --- changing ---

    def change(
        self, transaction: str | None, version: int | None, work: Callable[[Document], T]
    ) -> T:
        """Do `work` in a transaction, or in one of its own on `version`, which is committed.

        What `work` did before it raised stays in a transaction of the caller's. Raises `ApiError`.
        """
        if transaction and version:
            raise ApiError(400, "both version and transaction specified, specify only one")
        if transaction:
            return self._work(transaction, work)
        own = self._start(self._given(version))
        try:
            done = self._work(own, work)
        except ApiError:
            self.delete(own)
            raise
        self._commit(own)
        return done

    def _work(self, transaction: str, work: Callable[[Document], T]) -> T:
        changed = self.document(transaction)
        try:
            return work(changed)
        finally:
            self._files.write(transaction, changed.render_with_hash())

    @staticmethod
    def _given(version: int | None) -> int:
        if not version:
            raise ApiError(
                400,
                "version or transaction not specified: "
                "version or transaction not specified, specify only one",
            )
        return version

    def replace(self, text: str, version: int | None, *, any_version: bool = False) -> None:
        """Commit a text as the whole configuration. Raises `ApiError`.

        With `any_version` the version is the one that stands in the text, 1 without one.
        """
        transaction, _ = self._begin(None if any_version else self._given(version))
        if not any_version:
            text = f"# _version={version}\n{document.without_version(text)}"
        self._files.write(transaction, text)
        self._open[transaction] = document.parse(text)
        self._commit(transaction, any_version=any_version)

    def validate(self, text: str) -> None:
        """Let HAProxy judge a text, and keep nothing of it. Raises `ApiError`."""
        with tempfile.NamedTemporaryFile("w", prefix="onlyvalidate", dir="/tmp") as file:
            file.write(text)
            file.flush()
            check.check(self._settings, Path(file.name))

    # --- sections ---

    @staticmethod
    def section(known: Document, kind: str, name: str) -> Section:
        """A section of a document. Raises `ApiError`."""
        found = known.sections.get((kind, name))
        if found is None:
            raise absent(f"{kind} {name} does not exist")
        return found


def watch(configuration: Configuration, config: Path, stopped: threading.Event) -> None:
    """Notice that somebody else wrote the file, until `stopped`."""
    known = _stamp(config)
    while not stopped.wait(0.02):
        stamp = _stamp(config)
        if stamp is None or stamp == known:
            continue
        known = stamp
        with contextlib.suppress(OSError):
            if not document.is_ours(config.read_text()):
                configuration.read_edited()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns
