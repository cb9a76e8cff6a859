"""A stack's parts in containers of their own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from harness.containers.images import HAPROXY, Images, LocalImages, chosen_images, daemon
from harness.containers.machine import ContainerMachine
from harness.dataplane import find_dataplane
from harness.machines import Machine
from harness.mongo import Mongod
from harness.users import NOBODY, unprivileged

_ROOT = Path(__file__).parents[2]
_DATAPLANEAPI = Path("/usr/local/bin/dataplaneapi")
# mongod in its container, for an agent here that tries a configuration. What lies beside that is
# handed to the container's user, and a signal is handed on, which `docker exec` doesn't do.
_SHIM = """\
#!/bin/sh
place={directory}
case "$2" in /*) place=$(dirname "$2") ;; esac
[ "$(id -u)" != 0 ] || chown -R {owner} "$place"
docker exec --user {owner} {container} sh -c 'echo $$ >"$0"; exec "$@"' \
    "$place/.pid" {program} "$@" &
exec=$!
trap 'kill "$(cat "$place/.pid")"' TERM
wait "$exec"
code=$?
trap - TERM
wait "$exec" 2>/dev/null
exit "$code"
"""


class ContainerParts:
    """The front server, HAProxy with its Data Plane API, and each mongod: a container each.

    `version` is HAProxy's, such as `3.4`. Raises `UnavailableError` where no Docker daemon answers.
    """

    def __init__(self, version: str, *, images: Images | None = None) -> None:
        daemon()
        self._version = version
        self._images = images or chosen_images()
        self._machines: list[ContainerMachine] = []
        self._mongods: dict[Path, ContainerMachine] = {}

    def haproxy(self) -> Path:
        return HAPROXY

    def dataplaneapi(self) -> Path | None:
        return find_dataplane() if self._is_local else _DATAPLANEAPI

    def front(self, directory: Path, settings: Mapping[str, str]) -> Machine:
        return self._new(
            ContainerMachine(
                lambda: self._images.front(self._version), directory, mounts=named_paths(settings)
            )
        )

    def proxy(self, directory: Path) -> Machine:
        if not self._is_local:
            return self._new(ContainerMachine(lambda: self._images.proxy(self._version), directory))
        # The double needs the product's Python, and is in the checkout.
        mounts = (find_dataplane() or _ROOT,)
        return self._new(
            ContainerMachine(lambda: self._images.front(self._version), directory, mounts=mounts)
        )

    @property
    def agent_settings(self) -> Mapping[str, str]:
        return {"FRONTSERVER_AGENT_OWNER": NOBODY} if os.getuid() == 0 else {}

    def mongod(self, directory: Path, stack: Path) -> tuple[Machine, Path]:
        machine = self._new(ContainerMachine(self._images.mongod, stack))
        self._mongods[directory] = machine
        return machine, Path("mongod")

    def postgresql(self, directory: Path, stack: Path) -> tuple[Machine, Path]:  # noqa: ARG002
        # `initdb` insists on a name for whoever runs it.
        names = (Path("/etc/passwd"),)
        return self._new(ContainerMachine(self._images.postgresql, stack, mounts=names)), Path()

    def dry_run(self, mongod: Mongod) -> Path:
        directory = mongod.config.parent
        shim = directory / "mongod"
        container = self._mongods[directory].container_id
        shim.write_text(
            _SHIM.format(
                owner=unprivileged(),
                directory=directory,
                container=container,
                program=mongod.binary,
            )
        )
        shim.chmod(0o755)
        return shim

    def close(self) -> None:
        for machine in self._machines:
            machine.close()
        self._machines.clear()

    @property
    def _is_local(self) -> bool:
        return isinstance(self._images, LocalImages)

    def _new(self, machine: ContainerMachine) -> ContainerMachine:
        self._machines.append(machine)
        return machine


def named_paths(settings: Mapping[str, str]) -> tuple[Path, ...]:
    """Files and directories of this machine that settings name, where containers see none."""
    named = (
        Path(value)
        for name, value in settings.items()
        if name.startswith("FRONTSERVER_") and value.startswith("/")
    )
    everywhere = tempfile.gettempdir()
    return tuple(path for path in named if path.exists() and not path.is_relative_to(everywhere))
