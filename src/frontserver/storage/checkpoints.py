"""SQLite's write-ahead log gets into its file beside the commits, not within one of them."""

from __future__ import annotations

import logging
import threading

from sqlalchemy import Engine, PoolProxiedConnection

from frontserver.errors import StorageError
from frontserver.storage.failures import storage_errors

_log = logging.getLogger(__name__)

# About as much as SQLite itself lets come together (1,000 pages).
_COMMITS = 64


class Checkpoints:
    """Merges the log into the file every 64 commits, in a thread of its own.

    SQLite would do it within a commit, and whoever waits for that one waits ten times as long. A
    checkpoint that can't be made (a full disk) is tried again after as many commits; nothing is
    lost meanwhile, since the log is durable too.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._commits = 0
        self._due = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def committed(self) -> None:
        """Count a commit. In one thread only."""
        self._commits += 1
        if self._commits % _COMMITS:
            return
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="database-checkpoints", daemon=True
            )
            self._thread.start()
        self._due.set()

    def close(self) -> None:
        """End the thread; blocks while a checkpoint is being made."""
        self._closed = True
        self._due.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        connection: PoolProxiedConnection | None = None
        while self._due.wait() and not self._closed:
            self._due.clear()
            try:
                with storage_errors("merge the write-ahead log"):
                    connection = connection or self._engine.raw_connection()
                    # Waits for nobody: what a reader still needs is merged the next time.
                    connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)").close()
            except StorageError as error:
                _log.warning("%s; it is tried again", error)
        if connection is not None:
            connection.close()
