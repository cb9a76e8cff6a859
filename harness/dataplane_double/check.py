"""`haproxy -c`, and its complaints as the real one words them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from harness.dataplane_double.errors import ApiError
from harness.dataplane_double.settings import Settings


def check(settings: Settings, candidate: Path, transaction: str | None = None) -> None:
    """Let HAProxy judge a file, between those that belong before and after it.

    Raises `ApiError`: 400 with every alert.
    """
    files = (*settings.check_before, candidate, *settings.check_after)
    command = [str(settings.haproxy), "-W", "-c"]
    for file in files:
        command += ["-f", str(file)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HAPROXY_")}
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", env=environ, check=False
    )
    if done.returncode == 0:
        return
    message = f"validation error: exit status {done.returncode}: "
    if transaction is not None:
        message += f"err transactionId={transaction} \n"
    raise ApiError(400, message + "\n".join(_alerts(done.stderr)))


def _alerts(output: str) -> list[str]:
    lines = (line.strip() for line in output.splitlines())
    alerts = (line.split(" : ")[1:] for line in lines if line.startswith("[ALERT]"))
    return ['msg="' + " ".join(parts).strip() + '"' for parts in alerts]
