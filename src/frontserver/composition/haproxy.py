"""The HAProxy that is driven, and the program that configurations are tried with."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from frontserver.composition.frontends import tls_available
from frontserver.errors import ConfigRejectedError
from frontserver.haproxy import binary
from frontserver.haproxy.check import check as haproxy_check
from frontserver.haproxy.locks import ControllerLock
from frontserver.haproxy.process import EmbeddedHaproxy, ExternalHaproxy, HaproxyProcess
from frontserver.rendering.origins import traced
from frontserver.rendering.render import Renderer
from frontserver.settings import Settings

logger = logging.getLogger(__name__)


def haproxy_process(settings: Settings, *, share_ports: bool = False) -> HaproxyProcess | None:
    """The HAProxy to drive: our own, or somebody else's by its sockets.

    `None` if it isn't driven by its sockets at all. With `share_ports` our own is started even if
    another one has its ports.
    """
    if settings.backend != "file":
        return None
    if settings.haproxy == "external":
        return ExternalHaproxy(
            runtime_socket=settings.runtime_socket, master_socket=settings.master_socket
        )
    return embedded_haproxy(settings, share_ports=share_ports)


def embedded_haproxy(settings: Settings, *, share_ports: bool = False) -> EmbeddedHaproxy:
    """The HAProxy that belongs to the state directory."""
    https = settings.https_bind if tls_available(settings) else ()
    binds = () if share_ports else (*settings.http_bind, *https, *settings.mongo_bind)
    return EmbeddedHaproxy(
        binary=binary.find(settings.haproxy_bin),
        config_path=settings.config_dir / "current",
        run_dir=settings.state_dir / "run",
        runtime_socket=settings.runtime_socket,
        master_socket=settings.master_socket,
        binds=[(bind.host, bind.port) for bind in binds],
    )


def controller_lock(settings: Settings) -> ControllerLock:
    """Held while a control plane drives the HAProxy of this state directory."""
    return ControllerLock(settings.state_dir / "run")


def own_program(settings: Settings) -> Path | None:
    """The HAProxy program that configurations and profiles may be tried with.

    A HAProxy of somebody else's may be of another version, or in another container: without a
    binary of its own named, its reload is the only judge.
    """
    foreign = settings.haproxy == "external" or settings.backend == "dataplane"
    if foreign and settings.haproxy_bin is None:
        return None
    return binary.find(settings.haproxy_bin)


def checker(
    settings: Settings, renderer: Renderer
) -> Callable[[Path, Sequence[str]], Awaitable[None]]:
    """`haproxy -c` by the binary at hand, if there is one: of a directory, or of files in it.

    A refusal names the line of the template, where that is clear.
    """
    program = own_program(settings)
    if program is None:
        return _unchecked

    async def run(path: Path, files: Sequence[str]) -> None:
        try:
            await haproxy_check(program, path, files)
        except ConfigRejectedError as error:
            raise traced(error, renderer) from error

    return run


async def _unchecked(path: Path, files: Sequence[str]) -> None:
    """Accepts everything: HAProxy's own answer to the reload decides."""
    del files
    logger.debug("%s is not checked before the reload", path)


async def check_files(settings: Settings, renderer: Renderer, files: Mapping[str, str]) -> None:
    """The verdict of `checker` on these texts. Raises `ConfigRejectedError`."""
    with tempfile.TemporaryDirectory(prefix="frontserver-check-") as directory:
        write_files(files, Path(directory))
        await checker(settings, renderer)(Path(directory), ())


def write_files(files: Mapping[str, str], directory: Path) -> None:
    """Write them below the directory, readable by their owner alone."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(content)
