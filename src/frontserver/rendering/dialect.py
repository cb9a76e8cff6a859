"""How a configuration is written down for whoever loads it.

The file backend writes all of a HAProxy's configuration, with names that are relative to it.
"""

from __future__ import annotations

from typing import NamedTuple

from frontserver.planning.compiled import CompiledRoute, Profile
from frontserver.planning.running import known_servers
from frontserver.planning.serverline import arguments


class ServerLine(NamedTuple):
    """A `server` line: its name, and everything after it."""

    name: str
    arguments: str


class Dialect:
    """The file backend's. `process` is whether the `global` section is ours to write."""

    process = True

    def place(self, name: str) -> str:
        """What HAProxy is told instead of the name of a file, such as `certs/https.pem`."""
        return name

    @property
    def maps(self) -> str:
        """The directory of maps, and what their file names begin with."""
        return "maps/"

    def servers(self, profile: Profile, route: CompiledRoute | None) -> list[ServerLine]:
        """The lines of a slot of the profile that the route sits on, if one does."""
        del profile
        return [ServerLine(s.name, arguments(s)) for s in known_servers(route)] if route else []
