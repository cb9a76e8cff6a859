"""What the driver and the file system raise, as `StorageError`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from frontserver.errors import StorageError


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Turn what the driver or the file system raises inside into `StorageError`."""
    try:
        yield
    except (DBAPIError, sqlite3.Error, OSError) as error:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
        raise StorageError(f"can't {doing}: {cause}", hint=_hint(error, str(cause))) from error
    except SQLAlchemyError as error:
        raise StorageError(f"can't {doing}: {error}") from error


def _hint(error: Exception, text: str) -> str:
    if "locked" in text or "busy" in text:
        return "another process writes to the database; try again"
    if "full" in text:
        return "free space on the disk of the state directory"
    if "readonly" in text or "unable to open" in text or isinstance(error, OSError):
        return "check that the state directory exists and that this user may write to it"
    if isinstance(error, IntegrityError | sqlite3.IntegrityError):
        return "somebody else changed the same thing at the same time; try again"
    return "check the disk and the log"
