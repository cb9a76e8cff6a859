"""Where the Data Plane API keeps our files, and what HAProxy calls them."""

from __future__ import annotations

import re

import msgspec

from frontserver.backends.dataplane.servers import lines
from frontserver.errors import ProxyUnavailableError
from frontserver.planning.compiled import (
    CA_PREFIX,
    HTTPS_CERTIFICATE,
    MAPS,
    SYSTEM_CA,
    CompiledRoute,
    Profile,
)
from frontserver.rendering.dialect import Dialect, ServerLine

# All our files begin so: others may share the Data Plane API.
PREFIX = "fs-"

# What may stand unquoted in an expression and on a line.
_PLAIN = re.compile(r"/[A-Za-z0-9_./-]*")


def file_name(name: str) -> str:
    """The name in the Data Plane API's storage of `maps/hosts.map` or `certs/https.pem`."""
    return PREFIX + name.rpartition("/")[2]


def is_certificate(name: str) -> bool:
    """Whether a file goes to the storage of certificates; CA bundles are general files."""
    return name == HTTPS_CERTIFICATE


def bundle_of(file: str) -> str | None:
    """The name of a route's CA bundle, of which this is the name in the storage; else `None`."""
    name = f"certs/{file.removeprefix(PREFIX)}"
    return name if file.startswith(PREFIX) and name.startswith(CA_PREFIX) else None


class Places(msgspec.Struct, frozen=True):
    """The directories, as HAProxy sees them; `None` as long as they aren't known."""

    maps: str | None = None
    certificates: str | None = None
    general: str | None = None

    def of(self, name: str) -> str:
        """The absolute file name of one of our files."""
        if name in MAPS:
            directory = self.maps
        else:
            directory = self.certificates if is_certificate(name) else self.general
        if directory is None:
            raise ProxyUnavailableError(f"where the Data Plane API keeps {name} isn't known yet")
        return f"{directory}/{file_name(name)}"

    def at_run_time(self, name: str) -> str:
        """By what name HAProxy knows a CA bundle that the API gave it at run time.

        The API has no directories there. The system's CAs come with the configuration.
        """
        return self.of(name) if name == SYSTEM_CA else file_name(name)


def directory_of(path: str) -> str:
    """The directory of a stored file; raises `ProxyUnavailableError` if we can't use it."""
    directory = path.rpartition("/")[0]
    if not _PLAIN.fullmatch(directory):
        raise ProxyUnavailableError(
            f"the Data Plane API keeps files in {directory!a}",
            hint="use absolute paths of letters, digits, '.', '_' and '-' for its directories",
        )
    return directory


class DataPlaneDialect(Dialect):
    """Configurations beside an operator's: no `global` section, absolute names of files."""

    process = False

    def __init__(self, places: Places) -> None:
        self.places = places

    def place(self, name: str) -> str:
        # What was never stored isn't referred to either: no certificate without its frontend.
        directory = self.places.certificates if is_certificate(name) else self.places.general
        if name not in MAPS and directory is None:
            return name
        return self.places.of(name)

    @property
    def maps(self) -> str:
        return self.places.of(MAPS[0]).removesuffix(MAPS[0].rpartition("/")[2])

    def servers(self, profile: Profile, route: CompiledRoute | None) -> list[ServerLine]:
        return lines(profile, route, self.places.of)
