"""The Data Plane's parts, put together once, as handlers get them."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from harness.dataplane_double.configuration import Configuration, watch
from harness.dataplane_double.reloads import Reloads
from harness.dataplane_double.runtime import Runtime
from harness.dataplane_double.runtime_certificates import RuntimeCertificates
from harness.dataplane_double.runtime_maps import RuntimeMaps
from harness.dataplane_double.runtime_servers import RuntimeServers
from harness.dataplane_double.settings import Settings
from harness.dataplane_double.storage import Certificates, CrtLists, Folder


@dataclass(frozen=True)
class Parts:
    """Everything that a request may need."""

    settings: Settings
    runtime: Runtime
    configuration: Configuration
    reloads: Reloads
    servers: RuntimeServers
    maps: RuntimeMaps
    certificates: RuntimeCertificates
    map_files: Folder
    certificate_files: Certificates
    crt_list_files: CrtLists
    general_files: Folder

    def reload(self, *, skip: bool = False, force: bool = False) -> str | None:
        """Reload as the caller wants it: the id, if it is one for later. Raises `ApiError`."""
        if skip:
            return None
        if force:
            self.reloads.force()
            return None
        return self.reloads.request()


def assemble(settings: Settings) -> Parts:
    """Put the parts together, and wait for HAProxy, twice as long as `delayed_start_max` says."""
    configuration = Configuration(settings)
    runtime = Runtime(settings.master_socket, settings.start_tick)
    for _ in range(2):
        runtime.connect(settings.start_patience)
    return Parts(
        settings=settings,
        runtime=runtime,
        configuration=configuration,
        reloads=Reloads(settings, runtime),
        servers=RuntimeServers(runtime),
        maps=RuntimeMaps(runtime, settings.maps),
        certificates=RuntimeCertificates(runtime),
        map_files=Folder(settings.maps, "managed map file", ending=".map"),
        certificate_files=Certificates(settings.certificates, "managed SSL file"),
        crt_list_files=CrtLists(settings.certificates, "managed certificate list"),
        general_files=Folder(settings.general, "managed general use file"),
    )


def start_threads(parts: Parts, stopped: threading.Event) -> None:
    """Look after the file and the reloads that wait, until `stopped`."""
    settings = parts.settings
    for target, arguments in (
        (watch, (parts.configuration, settings.config, stopped)),
        (parts.reloads.tick, (stopped,)),
    ):
        threading.Thread(target=target, args=arguments, daemon=True).start()
