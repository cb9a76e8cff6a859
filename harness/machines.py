"""Where the programs of a stack run: here, or in containers that look the same from outside.

Ports, process ids and paths below the stack's directory mean the same on a machine as here, so that
a test kills, breaks and looks at things without knowing where they are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from harness.environment import child_environment
from harness.errors import HarnessError
from harness.processes import Child, Program
from harness.users import hand_over, unprivileged

Command = Sequence[str | Path]


class Machine(Protocol):
    """A place for programs. `environ` are settings beside what the machine itself has."""

    def program(self, name: str) -> str:
        """Where the product's Python or a script of its is. Raises `HarnessError` if nowhere."""
        ...

    def start(
        self, name: str, command: Command, *, log: Path, environ: Mapping[str, str] | None = None
    ) -> Program:
        """Start a program; what it prints is appended to `log`."""
        ...

    def run(
        self, command: Command, *, environ: Mapping[str, str] | None = None, seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, whatever its exit code."""
        ...


class Here:
    """This machine."""

    def program(self, name: str) -> str:
        beside = Path(sys.executable).with_name(name)
        found = str(beside) if beside.exists() else shutil.which(name)
        if found is None:
            raise HarnessError(f"{name} isn't installed beside {sys.executable}")
        return found

    def start(
        self, name: str, command: Command, *, log: Path, environ: Mapping[str, str] | None = None
    ) -> Child:
        return Child(name, command, log=log, environ=child_environment(environ or {}))

    def run(
        self, command: Command, *, environ: Mapping[str, str] | None = None, seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(part) for part in command],
            env=child_environment(environ or {}),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )


class Unprivileged(Here):
    """This machine, for programs that refuse to be root's: if root starts them, they are nobody's.

    So is `directory` then, with all that is in it, as in a container.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def start(
        self, name: str, command: Command, *, log: Path, environ: Mapping[str, str] | None = None
    ) -> Child:
        return super().start(name, self._lowered(command), log=log, environ=environ)

    def run(
        self, command: Command, *, environ: Mapping[str, str] | None = None, seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        return super().run(self._lowered(command), environ=environ, seconds=seconds)

    def _lowered(self, command: Command) -> Command:
        if os.getuid() != 0:
            return command
        hand_over(self._directory)
        user, group = unprivileged()
        # Each becomes the next, so that the process id is the program's.
        lower = ("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups")
        # Where we are may be closed to that user.
        return (*lower, "env", f"--chdir={self._directory}", *command)
