"""What a stack is made of, and where its parts run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from harness.dataplane import find_dataplane
from harness.haproxy import find_haproxy
from harness.machines import Here, Machine, Unprivileged
from harness.mongo import Mongod, find_mongod
from harness.postgresql import find_postgresql


class Parts(Protocol):
    """Programs and machines for the parts of one stack. A path is one on the part's machine."""

    def haproxy(self) -> Path:
        """The HAProxy to serve with. Raises `UnavailableError`."""
        ...

    def dataplaneapi(self) -> Path | None:
        """The Data Plane API's program; `None`: the harness's double stands in."""
        ...

    def front(self, directory: Path, settings: Mapping[str, str]) -> Machine:
        """For the front server, and the HAProxy that it runs itself.

        What a test's `settings` name by its path can be read there.
        """
        ...

    def proxy(self, directory: Path) -> Machine:
        """For a HAProxy that isn't the front server's to run, and its Data Plane API."""
        ...

    def mongod(self, directory: Path, stack: Path) -> tuple[Machine, Path]:
        """For one mongod with its files in `directory`, below the stack's; and its program there.

        Raises `UnavailableError`.
        """
        ...

    def postgresql(self, directory: Path, stack: Path) -> tuple[Machine, Path]:
        """For one PostgreSQL server with its files in `directory`, below the stack's.

        And where its programs are there; empty: on its path. Raises `UnavailableError`.
        """
        ...

    @property
    def agent_settings(self) -> Mapping[str, str]:
        """What agents' programs must be told, so that mongods can read what they write."""
        ...

    def dry_run(self, mongod: Mongod) -> Path:
        """A program here that is mongod, for an agent that tries its configuration."""
        ...

    def close(self) -> None:
        """End every machine that was given out."""
        ...


class NativeParts:
    """All on this machine, with the programs that are found here or are named."""

    def __init__(self, *, haproxy: Path | None = None) -> None:
        self._haproxy = haproxy

    def haproxy(self) -> Path:
        return self._haproxy or find_haproxy()

    def dataplaneapi(self) -> Path | None:
        return find_dataplane()

    def front(self, directory: Path, settings: Mapping[str, str]) -> Machine:  # noqa: ARG002
        return Here()

    def proxy(self, directory: Path) -> Machine:  # noqa: ARG002
        return Here()

    def mongod(self, directory: Path, stack: Path) -> tuple[Machine, Path]:  # noqa: ARG002
        return Here(), find_mongod()

    def postgresql(self, directory: Path, stack: Path) -> tuple[Machine, Path]:  # noqa: ARG002
        return Unprivileged(directory), find_postgresql()

    @property
    def agent_settings(self) -> Mapping[str, str]:
        return {}

    def dry_run(self, mongod: Mongod) -> Path:
        return mongod.binary

    def close(self) -> None:
        """Nothing is to be ended."""
