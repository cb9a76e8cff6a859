"""The backend that the operator chose: one function for each."""

from __future__ import annotations

from frontserver.backends.dataplane.backend import DataPlaneBackend
from frontserver.backends.dataplane.ledger import Ledger
from frontserver.backends.dataplane.shared import one_file
from frontserver.backends.file.backend import FileBackend
from frontserver.backends.file.generations import Generations
from frontserver.backends.memory import MemoryBackend
from frontserver.backends.port import Backend
from frontserver.composition.haproxy import checker, own_program
from frontserver.dataplane.client import DataPlaneClient
from frontserver.haproxy.canary import Canary, Verdicts
from frontserver.haproxy.master import MasterClient
from frontserver.haproxy.ports import unused_port
from frontserver.haproxy.probe import Prober
from frontserver.haproxy.process import HaproxyProcess
from frontserver.haproxy.runtime import RuntimeClient
from frontserver.model.measurements import Measurements
from frontserver.model.targets import HostPort
from frontserver.rendering.render import Renderer
from frontserver.settings import Settings


def make_backend(
    settings: Settings,
    process: HaproxyProcess | None,
    renderer: Renderer,
    measurements: Measurements | None = None,
    *,
    share_ports: bool = False,
) -> Backend:
    """The backend that is set; `process` is the HAProxy that is ours to run, if one is.

    With `share_ports` a HAProxy that is started listens once it has all routes.
    """
    if settings.backend == "memory":
        return MemoryBackend()
    if process is None:
        return dataplane_backend(settings, renderer, measurements)
    return file_backend(settings, process, renderer, measurements, share_ports=share_ports)


def dataplane_backend(
    settings: Settings, renderer: Renderer, measurements: Measurements | None = None
) -> DataPlaneBackend:
    """Everything through the Data Plane API, beside an operator's own configuration."""
    client = DataPlaneClient(
        settings.dataplane_url,
        user=settings.dataplane_user,
        password=settings.dataplane_password,
        ca=settings.dataplane_ca,
        certificate=settings.dataplane_certificate,
        key=settings.dataplane_key,
    )
    return DataPlaneBackend(
        client=client,
        renderer=renderer,
        ledger=Ledger(settings.state_dir / "dataplane.json"),
        measurements=measurements,
        compose=one_file if settings.dataplane_file == "shared" else None,
    )


def file_backend(
    settings: Settings,
    process: HaproxyProcess,
    renderer: Renderer,
    measurements: Measurements | None = None,
    *,
    share_ports: bool = False,
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
        first_bind=HostPort("127.0.0.1", unused_port()) if share_ports else None,
        measurements=measurements,
    )
