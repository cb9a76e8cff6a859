"""What one HAProxy can do, by its version. Every fact here was measured on that version."""

from __future__ import annotations

import re
from typing import Self

import msgspec

from frontserver.errors import ProxyError

OLDEST = (2, 8, 0)

_VERSION = re.compile(r"(?<![\d.])(\d{1,3})\.(\d{1,3})(?:\.(\d{1,4}))?")


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """What no command tells, and only trying shows. Fields as in `Capabilities`."""

    payload_limit: int
    slow_set_map: bool
    del_map_removes_all: bool
    init_state: bool
    automatic_sni: bool
    guid: bool


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """One version's abilities. A version newer than all known counts as the newest known."""

    version: tuple[int, int, int]
    # `wait DELAY srv-removable …`; without it, `del server` has to be polled.
    wait: bool
    # `add backend NAME from PROFILE`.
    dynamic_backends: bool
    # Bytes of one command with its payload (tune.bufsize bounds it).
    payload_limit: int
    # `set map` and `del map` walk the whole map instead of its tree.
    slow_set_map: bool
    # `del map` removes every entry of a key; otherwise only its first.
    del_map_removes_all: bool
    # The server keyword `init-state`, which keeps a new server out until its check passes.
    init_state: bool
    # A TLS server sends the request's Host as SNI unless told `no-sni-auto`.
    automatic_sni: bool
    # The server keyword `guid`.
    guid: bool

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
            slow_set_map=version < (3, 0, 0),
            del_map_removes_all=version < (3, 4, 0),
            init_state=version >= (3, 2, 0),
            automatic_sni=version >= (3, 4, 0),
            guid=version >= (3, 0, 0),
        )
