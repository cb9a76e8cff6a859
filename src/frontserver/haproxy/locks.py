"""Locks of the run directory: one control plane, one HAProxy (flock(2)).

A lock lasts as long as any process holds the open file, so nothing is ever left locked by a crash.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from frontserver.errors import ProcessConflictError, StorageError


def take(path: Path) -> int | None:
    """The locked file's descriptor, or `None` if somebody else holds it. Closing it unlocks."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class ControllerLock:
    """Held by the one control plane that may drive the HAProxy of a run directory."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / "controller.lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Raises `ProcessConflictError` naming the control plane that holds it, `StorageError`."""
        try:
            self._descriptor = take(self._path)
        except OSError as error:
            raise StorageError(
                f"{self._path} can't be opened: {error.strerror}",
                hint="the state directory must be one that the front server can write to",
            ) from error
        if self._descriptor is None:
            raise ProcessConflictError(
                f"another control plane{self._holder()} drives {self._path.parent}",
                hint="stop it, or set another FRONTSERVER_STATE_DIR",
            )
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another one in; harmless when not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def holder(self) -> int | None:
        """The process ID of the control plane that runs, if one does."""
        descriptor = take(self._path)
        if descriptor is not None:
            os.close(descriptor)
            return None
        with contextlib.suppress(OSError, ValueError):
            return int(self._path.read_text())
        return None

    def _holder(self) -> str:
        with contextlib.suppress(OSError, ValueError):
            return f" (PID {int(self._path.read_text())})"
        return ""
