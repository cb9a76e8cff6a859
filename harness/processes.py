"""Processes: children with a log of their own, and others that are known by a directory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from harness.errors import HarnessError
from harness.polling import until

_TAIL_LINES = 40
_PATIENCE = 15.0


class Program(Protocol):
    """A program that was started, wherever it runs; its output is in a log."""

    @property
    def pid(self) -> int:
        """Its process id, as this machine numbers processes."""
        ...

    @property
    def exit_code(self) -> int | None:
        """The exit code (negative: the signal that ended it), `None` while it runs."""
        ...

    def terminate(self, seconds: float = _PATIENCE) -> int:
        """SIGTERM, and wait; raises `HarnessError` (and kills) if it doesn't end in time."""
        ...

    def wait(self, seconds: float = _PATIENCE) -> int:
        """Wait for the end; raises `HarnessError` (and kills) if it doesn't come in time."""
        ...

    def kill(self) -> None:
        """SIGKILL, and wait."""
        ...

    def tail(self) -> str:
        """The end of its log, with a title, for error messages."""
        ...


class Child:
    """A child process. Its output is appended to `log`, so that restarts share one file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environ) if environ is not None else None,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code (negative: the signal that ended it), `None` while it runs."""
        return self._process.poll()

    def terminate(self, seconds: float = _PATIENCE) -> int:
        """SIGTERM, and wait; raises `HarnessError` (and kills) if it doesn't end in time."""
        if self.exit_code is None:
            self._process.terminate()
        return self.wait(seconds)

    def wait(self, seconds: float = _PATIENCE) -> int:
        """Wait for the end; raises `HarnessError` (and kills) if it doesn't come in time."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise HarnessError(
                f"{self.name} didn't end within {seconds:g} s, and was killed\n{self.tail()}"
            ) from None

    def kill(self) -> None:
        """SIGKILL, and wait."""
        if self.exit_code is None:
            self._process.kill()
        self._process.wait()

    def tail(self) -> str:
        """The end of its log, with a title, for error messages."""
        return tail(self.name, self.log)


def tail(name: str, log: Path) -> str:
    """The last lines of a log file, with a title."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    return "\n".join([f"--- end of the log of {name} ({log}) ---", *lines[-_TAIL_LINES:]])


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended and waits for its parent doesn't (proc(5))."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in {"Z", "X"}


def kill(pid: int) -> None:
    """SIGKILL to a process that isn't our child, and wait until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    until(f"process {pid} is gone", lambda: not alive(pid))


def processes_of(directory: Path) -> tuple[int, ...]:
    """Living processes whose command line names a path below `directory`.

    Only for directories made by the harness: whoever works below them was started by it.
    """
    needle = os.fsencode(directory)
    return tuple(
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit()
        and int(entry.name) != os.getpid()
        and any(needle in part for part in _command_line(entry))
        and alive(int(entry.name))
    )


def working_in(directory: Path) -> tuple[int, ...]:
    """Living processes whose working directory this is, whatever they call themselves."""
    found = []
    for entry in Path("/proc").iterdir():
        # Others go meanwhile, or aren't ours to ask.
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").samefile(directory):
                found.append(int(entry.name))
    return tuple(pid for pid in found if alive(pid))


def serves(pid: int) -> bool:
    """Whether a HAProxy is there to serve: not one that only checks a configuration (`-c`)."""
    return b"-c" not in tuple(_command_line(Path("/proc") / str(pid)))


def _command_line(entry: Path) -> Iterable[bytes]:
    try:
        return (entry / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return ()


def sweep(directory: Path) -> None:
    """Kill whatever still runs below a directory of the harness; the last line of defence."""
    for pid in processes_of(directory):
        kill(pid)
