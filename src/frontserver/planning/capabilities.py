"""What one HAProxy can do: what it says and shows itself, and until then what its version did.

The table by version was measured, and tests hold it against the real thing; but a distribution's
build, a socket with fewer rights or a setting of the operator's may differ, so it is only believed
where nothing could be observed (`Capabilities.assumed`).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Self

import msgspec

from frontserver.errors import ProxyError

OLDEST = (2, 8, 0)

# Commands without which routes can't be driven at run time, as `help` names them.
NEEDED = frozenset(
    {
        "abort ssl ca-file",
        "abort ssl cert",
        "add map",
        "add server",
        "commit map",
        "commit ssl ca-file",
        "commit ssl cert",
        "del map",
        "del server",
        "enable health",
        "enable server",
        "get map",
        "new ssl ca-file",
        "prepare map",
        "set map",
        "set server",
        "set ssl ca-file",
        "set ssl cert",
        "show info",
        "show map",
        "show servers state",
        "show ssl ca-file",
        "show ssl cert",
        "show stat",
        "shutdown sessions server",
    }
)
_DYNAMIC_BACKENDS = frozenset(
    {"add backend", "del backend", "publish backend", "unpublish backend"}
)
_REMOVABLE = "srv-removable"

_VERSION = re.compile(r"(?<![\d.])(\d{1,3})\.(\d{1,3})(?:\.(\d{1,4}))?")


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """What no command tells, and only trying shows. Fields as in `Capabilities`."""

    payload_limit: int
    del_map_removes_all: bool
    init_state: bool
    automatic_sni: bool
    guid: bool


_TOLD = frozenset({"wait", "dynamic_backends"})
_TRIED = frozenset(Behaviour.__struct_fields__)


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """One HAProxy's abilities. `assumed` names the fields that are its version's, not observed.

    A version newer than all known counts as the newest known.
    """

    version: tuple[int, int, int]
    # `wait DELAY srv-removable …`; without it, `del server` has to be polled.
    wait: bool
    # `add backend NAME from PROFILE`, and the commands that take it away again.
    dynamic_backends: bool
    # Bytes of one command with its payload (tune.bufsize bounds it).
    payload_limit: int
    # `del map` removes every entry of a key; otherwise only its first.
    del_map_removes_all: bool
    # The server keyword `init-state`, which keeps a new server out until its check passes.
    init_state: bool
    # A TLS server sends the request's Host as SNI unless told `no-sni-auto`.
    automatic_sni: bool
    # The server keyword `guid`.
    guid: bool
    # Needed commands that it doesn't offer: built without TLS, or a socket below level admin.
    lacking: tuple[str, ...] = ()
    assumed: frozenset[str] = _TOLD | _TRIED

    @classmethod
    def from_version(cls, text: str) -> Self:
        """From `show version`, `haproxy -v` or a bare number, such as `2.8.25-5cf5d0683`.

        Raises `ProxyError` for what is older than 2.8 or isn't a version.
        """
        match = _VERSION.search(text)
        if match is None:
            raise ProxyError(f"{text.strip()[:80]!r} is not a HAProxy version")
        version = (int(match[1]), int(match[2]), int(match[3] or 0))
        if version < OLDEST:
            raise ProxyError(
                f"HAProxy {'.'.join(map(str, version))} is too old",
                hint="install 2.8 or newer, or set FRONTSERVER_HAPROXY_BIN",
            )
        return cls(
            version=version,
            wait=version >= (3, 0, 0),
            dynamic_backends=version >= (3, 4, 0),
            payload_limit=120_000 if version >= (3, 4, 0) else 15_000,
            del_map_removes_all=version < (3, 4, 0),
            init_state=version >= (3, 2, 0),
            automatic_sni=version >= (3, 4, 0),
            guid=version >= (3, 0, 0),
        )

    def told(self, commands: Collection[str], conditions: Collection[str]) -> Self:
        """With what it says of itself: the commands of `help`, the conditions of `wait -h`."""
        offered = frozenset(commands)
        return msgspec.structs.replace(
            self,
            wait="wait" in offered and _REMOVABLE in conditions,
            dynamic_backends=offered >= _DYNAMIC_BACKENDS,
            lacking=tuple(sorted(NEEDED - offered)),
            assumed=self.assumed - _TOLD,
        )

    def tried(self, behaviour: Behaviour) -> Self:
        """With what trying has shown."""
        shown = msgspec.structs.asdict(behaviour)
        return msgspec.structs.replace(self, **shown, assumed=self.assumed - _TRIED)
