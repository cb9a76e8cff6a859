"""A container as a machine: programs are started in it one by one, and killed one by one.

It has this machine's network, process ids and temporary directory, so that ports, process ids and
paths mean the same on both sides. All else of it is read-only, and nobody in it is root.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import docker.types
from docker.errors import DockerException
from testcontainers.core.container import DockerContainer

from harness.errors import HarnessError
from harness.machines import Command
from harness.polling import until
from harness.processes import tail
from harness.users import hand_over, show, unprivileged

_PATIENCE = 15.0
_SIGNALLED = 128
# A container has its own, unless this machine's is the temporary directory that both see.
_TEMPORARY = Path("/tmp")  # noqa: S108


def hides(path: Path) -> bool:
    """Whether a container has something else there than its image has."""
    return path.is_relative_to(_TEMPORARY) and not path.is_relative_to(tempfile.gettempdir())


class ContainerMachine:
    """A container of an image; it is there from the first program to `close`.

    `directory` is the stack's. `program` finds console scripts in the image; `mounts` are further
    files and directories of this machine that it sees, read-only.
    """

    def __init__(
        self,
        image: Callable[[], str],
        directory: Path,
        *,
        programs: Path = Path("/opt/frontserver/bin"),
        mounts: tuple[Path, ...] = (),
    ) -> None:
        self._image = image
        self._directory = directory
        self._programs = programs
        self._mounts = mounts
        self._container: DockerContainer | None = None

    @property
    def container_id(self) -> str:
        """Docker's id of the container, which is started if it isn't there yet."""
        return str(self._running().id)

    def program(self, name: str) -> str:
        return str(self._programs / name)

    def start(
        self, name: str, command: Command, *, log: Path, environ: Mapping[str, str] | None = None
    ) -> ContainerProgram:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        container = self._running()
        self._hand_over(environ or {})
        words = shlex.join(str(part) for part in command)
        script = f"exec {words} >>{shlex.quote(str(log))} 2>&1 </dev/null"
        execution = container.client.api.exec_create(
            container.id,
            ["sh", "-c", script],
            user=str(unprivileged()),
            environment=dict(environ or {}),
        )["Id"]
        container.client.api.exec_start(execution, detach=True)
        return ContainerProgram(name, log, container.client.api, execution)

    def run(
        self, command: Command, *, environ: Mapping[str, str] | None = None, seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        container = self._running()
        self._hand_over(environ or {})
        words = [str(part) for part in command]
        code, (out, err) = container.exec_run(
            ["timeout", str(seconds), *words],
            user=str(unprivileged()),
            environment=dict(environ or {}),
            demux=True,
        )
        return subprocess.CompletedProcess(
            words, code, *(part.decode(errors="replace") if part else "" for part in (out, err))
        )

    def close(self) -> None:
        """End the container and whatever still runs in it."""
        container, self._container = self._container, None
        if container is not None:
            container.stop(force=True)

    def _running(self) -> Any:
        if self._container is None:
            self._container = self._started()
        return self._container.get_wrapped_container()

    def _started(self) -> DockerContainer:
        everywhere = tempfile.gettempdir()
        _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
        container = DockerContainer(self._image()).with_kwargs(
            entrypoint=["sleep", "infinity"],
            network_mode="host",
            pid_mode="host",
            read_only=True,
            user=str(unprivileged()),
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            ulimits=[docker.types.Ulimit(name="nofile", soft=files, hard=files)],
        )
        if hides(_TEMPORARY):
            container.with_tmpfs_mount(str(_TEMPORARY), "mode=1777")
        container.with_volume_mapping(everywhere, everywhere, "rw")
        for path in self._mounts:
            container.with_volume_mapping(str(path), str(path), "ro")
        try:
            return container.start()
        except DockerException as error:
            raise HarnessError(f"no container of {container.image}: {error}") from error

    def _hand_over(self, environ: Mapping[str, str]) -> None:
        """Let the container's user at what was made for it: the stack's files, and named ones."""
        if os.getuid() != 0:
            return
        hand_over(self._directory)
        temporary = tempfile.gettempdir()
        named = (Path(value) for value in environ.values() if value.startswith(f"{temporary}/"))
        for path in named:
            if path.exists() and not path.is_relative_to(self._directory):
                show(path)


class ContainerProgram:
    """A program in a container; as `Child`."""

    def __init__(self, name: str, log: Path, api: Any, execution: str) -> None:
        self.name = name
        self.log = log
        self._api = api
        self._execution = execution
        self._exit_code: int | None = None
        self._pid = 0

    @property
    def pid(self) -> int:
        if not self._pid:
            self._pid = until(
                f"{self.name} has a process id",
                lambda: int(self._api.exec_inspect(self._execution)["Pid"]),
            )
        return self._pid

    @property
    def exit_code(self) -> int | None:
        if self._exit_code is None:
            seen = self._api.exec_inspect(self._execution)
            if not seen["Running"] and seen["ExitCode"] is not None:
                code = int(seen["ExitCode"])
                self._exit_code = _SIGNALLED - code if code > _SIGNALLED else code
        return self._exit_code

    def terminate(self, seconds: float = _PATIENCE) -> int:
        self._signal(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float = _PATIENCE) -> int:
        deadline = time.monotonic() + seconds
        while (code := self.exit_code) is None:
            if time.monotonic() >= deadline:
                self.kill()
                raise HarnessError(
                    f"{self.name} didn't end within {seconds:g} s, and was killed\n{self.tail()}"
                )
            time.sleep(0.02)
        return code

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        until(f"{self.name} has ended", lambda: self.exit_code is not None)

    def tail(self) -> str:
        return tail(self.name, self.log)

    def _signal(self, number: int) -> None:
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
