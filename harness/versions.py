"""The HAProxy programs on this machine, by version."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from pathlib import Path

from harness.errors import HarnessError, UnavailableError
from harness.haproxy import find_haproxy

_ROOT = Path(__file__).parents[1]


def version_of(program: Path) -> str:
    """Such as `3.2.26`."""
    done = subprocess.run([program, "-v"], capture_output=True, text=True, check=True)
    match = re.search(r"version (\d+\.\d+\.\d+)", done.stdout)
    if match is None:
        raise HarnessError(f"{program} says no version")
    return match[1]


def programs() -> dict[str, Path]:
    """By `MAJOR.MINOR`: those of HAPROXY_BINARIES, the usual one, and those of `.haproxies/`."""
    named = [Path(path) for path in os.environ.get("HAPROXY_BINARIES", "").split(":") if path]
    with contextlib.suppress(UnavailableError):
        named.append(find_haproxy())
    named += sorted(_ROOT.glob(".haproxies/*/haproxy"))
    found: dict[str, Path] = {}
    for program in named:
        if os.access(program, os.X_OK):
            found.setdefault(version_of(program).rpartition(".")[0], program)
    return found


def program(version: str) -> Path:
    """The program of a version such as `3.2`. Raises `UnavailableError`."""
    known = programs()
    if version not in known:
        have = ", ".join(sorted(known)) or "none"
        raise UnavailableError(
            f"HAProxy {version} isn't here ({have}): name it in HAPROXY_BINARIES"
        )
    return known[version]
