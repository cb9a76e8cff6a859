"""A reader of a MongoDB: one connection that is kept, read over and over, and every cut noticed."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any, Self

from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.monitoring import ConnectionCreatedEvent, ConnectionPoolListener

from harness.polling import until

_PAUSE = 0.02


class _Created(ConnectionPoolListener):  # type: ignore[misc]
    """Counts the connections that a driver makes; all else of it doesn't matter."""

    def __init__(self) -> None:
        self.count = 0

    def connection_created(self, event: ConnectionCreatedEvent) -> None:  # noqa: ARG002
        self.count += 1

    def _ignored(self, event: Any) -> None:
        """Nothing."""

    pool_created = pool_ready = pool_cleared = pool_closed = _ignored
    connection_ready = connection_closed = _ignored
    connection_check_out_started = connection_check_out_failed = _ignored
    connection_checked_out = connection_checked_in = _ignored


class Reader:
    """Reads what `find_one` of `database.collection` finds, in a thread, until the block's end.

    `options` are pymongo's. The driver repeats nothing by itself: a read that is cut off shows as a
    complaint, and so does a document without `field` of the value `wanted`. A connection that is
    cut between two reads shows in `connections`.
    """

    def __init__(
        self, host: str, port: int, place: tuple[str, str], field: str, wanted: str, **options: Any
    ) -> None:
        self._place = place
        self._field = field
        self._wanted = wanted
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._reads = 0
        self._complaints: list[str] = []
        self._created = _Created()
        self._client: MongoClient[dict[str, Any]] = MongoClient(
            host,
            port,
            **{
                "directConnection": True,
                "retryReads": False,
                "maxPoolSize": 1,
                "serverSelectionTimeoutMS": 1000,
                "socketTimeoutMS": 3000,
                "event_listeners": [self._created],
                **options,
            },
        )
        self._thread = threading.Thread(target=self._read, name=f"reader-{wanted}")

    @property
    def reads(self) -> int:
        """How many found what they should."""
        with self._lock:
            return self._reads

    @property
    def complaints(self) -> list[str]:
        """What reads met instead of a document."""
        with self._lock:
            return list(self._complaints)

    @property
    def connections(self) -> int:
        """How many it has had; one, if that was never cut."""
        return self._created.count

    @property
    def is_cut(self) -> bool:
        """Whether it has lost its connection, or a read failed."""
        return self.connections > 1 or bool(self.complaints)

    def wait_for(self, more: int, seconds: float = 10.0) -> float:
        """Wait until `more` reads than now found what they should; the seconds it took."""
        began = time.monotonic()
        goal = self.reads + more
        until(
            f"{more} more reads of {self._wanted}",
            lambda: self.reads >= goal,
            seconds=seconds,
            detail=lambda: "; ".join(self.complaints[-3:]),
        )
        return time.monotonic() - began

    def __enter__(self) -> Self:
        self._thread.start()
        self.wait_for(3)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(30)
        self._client.close()

    def _read(self) -> None:
        database, collection = self._place
        while not self._stop.wait(_PAUSE):
            try:
                found = self._client[database][collection].find_one() or {}
                seen = found.get(self._field)
                complaint = None if seen == self._wanted else f"it reads {found}"
            except PyMongoError as error:
                complaint = f"{type(error).__name__}: {error}"
            with self._lock:
                if complaint is None:
                    self._reads += 1
                else:
                    self._complaints.append(complaint[:300])
