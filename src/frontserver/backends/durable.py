"""Files that are whole and on disk once a call returns, or unchanged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frontserver.errors import StorageError

# Inode, size and time of the last change: another one means that somebody has written.
Stamp = tuple[int, int, int]


@contextmanager
def storage(what: str) -> Iterator[None]:
    """Turn what the operating system raises inside into `StorageError`."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"the configuration can't be written ({what}): {error.strerror or error}",
            hint="see to the disk and its permissions; what runs is unchanged",
        ) from error


def write(path: Path, content: bytes) -> None:
    """A file that nobody reads yet, readable by us alone."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, content: bytes) -> None:
    """Put a file in place of another in one step; `sync_directory` makes that durable."""
    draft = path.with_name(f".{path.name}.tmp")
    write(draft, content)
    draft.replace(path)


def sync_directory(path: Path) -> None:
    """Make names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def stamp(path: Path) -> Stamp | None:
    """`None` if there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
