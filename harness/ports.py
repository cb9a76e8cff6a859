"""Free TCP ports on 127.0.0.1."""

from __future__ import annotations

import random
import socket

from harness.errors import HarnessError

# Below Linux's usual range of ephemeral ports (32768 on), from which the kernel serves
# outgoing connections: a port from there could be taken between finding and using it.
_FIRST, _LAST = 20_000, 32_000
_ATTEMPTS = 200

# Not the shared one: whoever seeds that, as hypothesis does, would get the ports of another
# process, which are free for a moment while something there is restarted.
_chance = random.SystemRandom()

_given: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on, and that this process hasn't been given before."""
    for _ in range(_ATTEMPTS):
        port = _chance.randint(_FIRST, _LAST)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise HarnessError(f"no free port from {_FIRST} to {_LAST} in {_ATTEMPTS} attempts")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            # Without SO_REUSEPORT, so that another HAProxy's port isn't taken for a free one.
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
