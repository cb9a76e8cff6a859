"""What can be done to a running HAProxy without a reload, as data.

Each is one intention; how it is said on which version is the driver's knowledge.
"""

from __future__ import annotations

import msgspec

from frontserver.planning.compiled import CaFile, Certificate, Server


class PutBackend(msgspec.Struct, frozen=True, tag=True):
    """Make an empty backend of a profile, where HAProxy can at run time."""

    backend: str
    profile: str


class DropBackend(msgspec.Struct, frozen=True, tag=True):
    """Take away a backend that is empty and idle."""

    backend: str


class PutServer(msgspec.Struct, frozen=True, tag=True):
    """Add a server to a backend, or correct the one of this name, and put it in service."""

    backend: str
    server: Server


class SetServer(msgspec.Struct, frozen=True, tag=True):
    """Give the server of this name its weight, where it is; its streams don't notice."""

    backend: str
    server: Server


class RetireServer(msgspec.Struct, frozen=True, tag=True):
    """Take a server out of service; its streams go on, and it is deleted when they have ended."""

    backend: str
    name: str


class CutServer(msgspec.Struct, frozen=True, tag=True):
    """Take a server out of service, end its streams, delete it."""

    backend: str
    name: str


class PutEntry(msgspec.Struct, frozen=True, tag=True):
    """Set a map entry, whether or not there is one."""

    map: str
    key: str
    value: str


class DropEntry(msgspec.Struct, frozen=True, tag=True):
    """Delete a map entry, if there is one."""

    map: str
    key: str


class PutCaFile(msgspec.Struct, frozen=True, tag=True):
    """Make a CA bundle known under its name."""

    file: CaFile


class PutCertificate(msgspec.Struct, frozen=True, tag=True):
    """Replace a certificate that is being served."""

    certificate: Certificate


# What takes a server out of service. There is no way back from it.
Removal = RetireServer | CutServer

Action = (
    PutBackend
    | DropBackend
    | PutServer
    | SetServer
    | Removal
    | PutEntry
    | DropEntry
    | PutCaFile
    | PutCertificate
)
