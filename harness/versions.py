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


class Exchange:
    """A path behind which HAProxy can be exchanged for another version, as an upgrade does.

    It is a link in `directory`, at first to `version` or, by default, the HAProxy found first.
    Raises `UnavailableError` for a version that isn't here.
    """

    def __init__(self, directory: Path, version: str | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.program = directory / "haproxy"
        self._programs = programs()
        self._link(program(version) if version else find_haproxy())

    @property
    def version(self) -> str:
        """Which version is there now."""
        return version_of(self.program).rpartition(".")[0]

    @property
    def versions(self) -> tuple[str, ...]:
        """Those that can be there."""
        return tuple(sorted(self._programs))

    def use(self, version: str) -> None:
        """Have this version there from now on; what runs isn't touched."""
        self._link(self._programs[version])

    def _link(self, target: Path) -> None:
        fresh = self.program.with_suffix(".new")
        fresh.symlink_to(target)
        fresh.replace(self.program)
