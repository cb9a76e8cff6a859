"""HAProxy's master socket: one conversation at a time, as the real one holds them."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from pathlib import Path

from harness.dataplane_double.errors import ApiError

# After which a command that HAProxy doesn't end is given up; everybody else waits meanwhile.
_PATIENCE = 30.0
_SEVERITIES = ("[3]:", "[2]:", "[1]:", "[0]:")


class SaidError(Exception):
    """HAProxy refused a command, or couldn't be asked."""


class Runtime:
    """Commands to HAProxy; usable once `connect` has found it.

    While it hasn't, each command looks once, and takes `tick` seconds to see that nobody is there.
    """

    def __init__(self, path: Path, tick: float) -> None:
        self.path = path
        self._tick = tick
        self._lock = threading.Lock()
        self._found = False
        self._version: tuple[int, int] | None = None

    @property
    def found(self) -> bool:
        """Whether HAProxy has answered, and is asked since."""
        return self._found

    @property
    def version(self) -> tuple[int, int]:
        """HAProxy's version, (3, 2); (0, 0) while it couldn't be asked."""
        if self._version is None:
            with contextlib.suppress(SaidError):
                for line in self.say("show info").splitlines():
                    if line.startswith("Version: "):
                        major, minor = line.removeprefix("Version: ").split(".")[:2]
                        self._version = (int(major), int(minor))
        return self._version or (0, 0)

    def connect(self, patience: float) -> bool:
        """Wait for HAProxy, at most `patience` seconds; whether it is there."""
        deadline = time.monotonic() + patience
        while not self._found:
            with contextlib.suppress(OSError):
                self._converse("@1 help")
                self._found = True
                break
            time.sleep(self._tick)
            if time.monotonic() >= deadline:
                break
        return self._found

    def say(self, command: str) -> str:
        """The worker's answer. Raises `SaidError` with its words, and `ApiError` if not `found`."""
        if not self.connect(0):
            raise ApiError(500, "retry - unable to configure runtime client")
        if ";" in command:
            raise SaidError("invalid character found in runtime command")
        try:
            answer = self._converse(f"@1 {command}")
        except OSError as error:
            raise SaidError(f"{self._dialled(error)} [{command}]") from error
        if answer[:4] in _SEVERITIES and len(answer) > 4:
            raise SaidError(f"[{answer[1]}] {answer[4:]} [{command}]")
        return answer

    def ask(self, command: str, *, status: int = 500, words: str = "") -> str:
        """As `say`, but a refusal is an answer with this status, its message ending in `words`."""
        try:
            return self.say(command)
        except SaidError as error:
            raise self.refusal(f"{error}{words}", status) from error

    def refusal(self, message: str, status: int) -> ApiError:
        """An answer about HAProxy."""
        return ApiError(status, f"{self.path} {message}")

    def reload(self) -> str:
        """Reload over the master; its log. Raises `SaidError`, whose second argument is the log."""
        try:
            answer = self._converse("reload")
        except OSError as error:
            raise SaidError(f"cannot reload: {self._dialled(error)}", "") from error
        outcome, _, log = answer.partition("\n--\n")
        if outcome.strip() == "Success=1":
            return log
        if outcome.strip() == "Success=0":
            raise SaidError("failed to reload configuration", log)
        raise SaidError(f"reload: unknown status: {outcome}", log)

    def _dialled(self, error: OSError) -> str:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        return f"dial unix {self.path}: connect: {reason}"

    def _converse(self, command: str) -> str:
        try:
            return self._converse_once(command)
        except OSError:
            return self._converse_once(command)

    def _converse_once(self, command: str) -> str:
        severity = "set severity-output number;" if command.startswith("@1 ") else ""
        answer = bytearray()
        with self._lock, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            deadline = time.monotonic() + _PATIENCE
            connection.settimeout(_PATIENCE)
            connection.connect(str(self.path))
            connection.sendall(f"{severity}{command};quit\n".encode())
            with contextlib.suppress(OSError):
                while chunk := connection.recv(65_536):
                    answer += chunk
                    connection.settimeout(max(0.01, deadline - time.monotonic()))
        return answer.decode("utf-8", "replace").removesuffix("\n> ").strip()
