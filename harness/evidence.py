"""What a stack knows about itself, copied to where it outlives a failed test."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from harness.errors import HarnessError
from harness.frontserver import FrontServer

_COMMANDS = ("show info", "show stat", "show servers state", "show sess")


def collect(front: FrontServer, target: Path) -> None:
    """Logs, the configuration on disk with its maps, and HAProxy's own account of itself.

    Certificates are left out: keys are among them.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for log in front.directory.rglob("*.log"):
        copy = target / "logs" / log.relative_to(front.directory)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(log, copy)
    current = front.config_dir / "current"
    if current.is_dir():
        shutil.copytree(
            current.resolve(), target / "haproxy", ignore=shutil.ignore_patterns("*.pem", "certs")
        )
    for command in _COMMANDS:
        with contextlib.suppress(OSError, HarnessError):
            answer = front.sockets.run(command)
            (target / f"{command.replace(' ', '-')}.txt").write_text(answer)
