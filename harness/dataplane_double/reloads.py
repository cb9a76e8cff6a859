"""Reloads: forced ones at once, others on the next tick, and what is told about them."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import threading
import time
from datetime import UTC, date, datetime
from typing import Any

from harness.dataplane_double.errors import ApiError
from harness.dataplane_double.files import replace
from harness.dataplane_double.runtime import Runtime, SaidError
from harness.dataplane_double.settings import Settings

Json = dict[str, Any]


class Reloads:
    """After a failed reload the file is what HAProxy took last; memory isn't told.

    Reloads go over the master socket if HAProxy was there at the start; otherwise the operator's
    command is run, for good, also when HAProxy can be asked again.
    """

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        self._settings = settings
        self._runtime = runtime
        self._over_master = runtime.found and runtime.version >= (2, 7)
        self._config = settings.config
        self._taken = settings.config.with_name(f"{settings.config.name}.lkg")
        shutil.copyfile(self._config, self._taken)
        self._lock = threading.RLock()
        self._count = 0
        self._next = ""
        self._failed: dict[str, Json] = {}
        self._succeeded: Json | None = None

    def tick(self, stopped: threading.Event) -> None:
        """Do what was requested, every `reload_delay` seconds, until `stopped`."""
        while not stopped.wait(self._settings.reload_delay):
            with self._lock:
                if self._next:
                    self._handle()

    def request(self) -> str:
        """The id of the next reload, which all requests until then share."""
        with self._lock:
            if not self._next:
                self._next = f"{datetime.now(UTC).astimezone():%Y-%m-%d}-{self._count}"
                self._count += 1
            return self._next

    def force(self) -> None:
        """Reload now; what was requested is done with it. Raises `ApiError`."""
        with self._lock:
            error, log = self._handle() if self._next else self._reload()
        if error:
            raise ApiError(400, f"Reload failed: {error}, {log}")

    def all(self) -> list[Json]:
        with self._lock:
            succeeded = [self._succeeded] if self._succeeded else []
            pending = [{"id": self._next, "status": "in_progress"}] if self._next else []
            return [*self._failed.values(), *succeeded, *pending]

    def one(self, name: str) -> Json:
        """A reload by its id; whatever looks older than the last success succeeded too.

        Waits while a reload runs. Raises `ApiError`.
        """
        with self._lock:
            if name == self._next:
                return {"status": "in_progress"}
            if name in self._failed:
                return self._failed[name]
            if self._succeeded is not None:
                if name == self._succeeded["id"]:
                    return self._succeeded
                if _is_older(name, self._succeeded["id"]):
                    return {"id": name, "status": "succeeded"}
        raise ApiError(404, f"Reload with ID {name} does not exist")

    def _handle(self) -> tuple[str, str]:
        error, log = self._reload()
        told = {
            "id": self._next,
            "status": "failed" if error else "succeeded",
            "response": log,
            "reload_timestamp": int(time.time()),
        }
        if error:
            self._failed[self._next] = told
        else:
            self._succeeded = told
        self._next = ""
        return error, log

    def _reload(self) -> tuple[str, str]:
        """What went wrong, or "", and HAProxy's log."""
        try:
            log = self._runtime.reload() if self._over_master else self._run()
        except SaidError as error:
            replace(self._config, self._taken.read_bytes())
            return str(error.args[0]), str(error.args[1])
        replace(self._taken, self._config.read_bytes())
        return "", log

    def _run(self) -> str:
        command = self._settings.reload_command
        done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SaidError(
                f"executing {command} failed: exit status {done.returncode}", done.stderr
            )
        return done.stdout


def _is_older(name: str, other: str) -> bool:
    try:
        (day, number), (other_day, other_number) = _parts(name), _parts(other)
    except ValueError:
        return False
    return day < other_day or number < other_number


def _parts(name: str) -> tuple[date, int]:
    day, _, number = name.rpartition("-")
    return date.fromisoformat(day), int(number)
