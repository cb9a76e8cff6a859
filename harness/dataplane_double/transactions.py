"""Files of transactions: open ones, and those that failed or came too late."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from harness.dataplane_double.errors import ApiError
from harness.dataplane_double.files import replace

Status = Literal["in_progress", "failed", "outdated"]
_STATUSES: tuple[Status, ...] = ("in_progress", "failed", "outdated")


class TransactionFiles:
    """Each transaction has a copy of the whole configuration in a file of its own."""

    def __init__(self, directory: Path, config: Path) -> None:
        self._directory = directory
        self._prefix = config.name

    def listed(self) -> list[tuple[str, Status]]:
        """The ids of all transactions on disk, open ones first."""
        return [
            (path.name.removeprefix(f"{self._prefix}."), status)
            for status in _STATUSES
            for path in self._files(status)
        ]

    def find(self, transaction: str) -> tuple[Path, Status] | None:
        """Where a transaction's file is."""
        for status in _STATUSES:
            path = self._place(status) / f"{self._prefix}.{transaction}"
            if path.is_file():
                return path, status
        return None

    def path(self, transaction: str) -> Path:
        """As `find`, wherever it is. Raises `ApiError`."""
        found = self.find(transaction)
        if found is None:
            raise ApiError(
                400,
                "transaction does not exist: "
                f"transaction file {self._prefix}.{transaction} does not exist",
            )
        return found[0]

    def write(self, transaction: str, text: str) -> Path:
        """Write an open transaction; if that fails an empty file is left. Raises `OSError`."""
        path = self._directory / f"{self._prefix}.{transaction}"
        path.touch()
        replace(path, text.encode())
        return path

    def move(self, transaction: str, status: Status) -> None:
        """Put an open transaction with those that failed or are outdated."""
        target = self._place(status)
        target.mkdir(exist_ok=True)
        name = f"{self._prefix}.{transaction}"
        with contextlib.suppress(FileNotFoundError):
            (self._directory / name).rename(target / name)

    def remove(self, transaction: str) -> bool:
        """Whether there was such a transaction."""
        found = self.find(transaction)
        if found is not None:
            found[0].unlink(missing_ok=True)
        return found is not None

    def _place(self, status: Status) -> Path:
        return self._directory if status == "in_progress" else self._directory / status

    def _files(self, status: Status) -> Iterator[Path]:
        place = self._place(status)
        if place.is_dir():
            for path in sorted(place.iterdir()):
                if path.is_file() and path.name.startswith(f"{self._prefix}."):
                    yield path
