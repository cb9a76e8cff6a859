"""The backend that the operator chose: one function for each."""

from __future__ import annotations

from frontserver.backends.file.backend import FileBackend
from frontserver.backends.file.generations import Generations
from frontserver.backends.memory import MemoryBackend
from frontserver.backends.port import Backend
from frontserver.composition.haproxy import checker, own_program
from frontserver.errors import SettingsError
from frontserver.haproxy.canary import Canary, Verdicts
from frontserver.haproxy.master import MasterClient
from frontserver.haproxy.probe import Prober
from frontserver.haproxy.process import HaproxyProcess
from frontserver.haproxy.runtime import RuntimeClient
from frontserver.model.measurements import Measurements
from frontserver.rendering.render import Renderer
from frontserver.settings import Settings

_NO_DATAPLANE = (
    "FRONTSERVER_BACKEND: the dataplane backend, the default, isn't part of this version yet; "
    "set FRONTSERVER_BACKEND=file"
)


def refuse_missing_backend(settings: Settings) -> None:
    """Raises `SettingsError` if this version hasn't the backend that is set."""
    if settings.backend == "dataplane":
        raise SettingsError([_NO_DATAPLANE])


def make_backend(
    settings: Settings,
    process: HaproxyProcess,
    renderer: Renderer,
    measurements: Measurements | None = None,
) -> Backend:
    """The backend that is set. Raises `SettingsError` if this version hasn't it."""
    refuse_missing_backend(settings)
    if settings.backend == "memory":
        return MemoryBackend()
    return file_backend(settings, process, renderer, measurements)


def file_backend(
    settings: Settings,
    process: HaproxyProcess,
    renderer: Renderer,
    measurements: Measurements | None = None,
) -> FileBackend:
    """Whole configurations on disk, hot reloads, and the Runtime API for what needs none."""
    program = own_program(settings)
    verdicts = Verdicts(settings.state_dir / "haproxy-trials.json")
    return FileBackend(
        renderer=renderer,
        generations=Generations(settings.config_dir),
        process=process,
        runtime=RuntimeClient(settings.runtime_socket, master=settings.master_socket),
        master=MasterClient(settings.master_socket),
        check=checker(settings, renderer),
        canary=Canary(program, verdicts) if program else None,
        prober=Prober(program, verdicts),
        measurements=measurements,
    )
