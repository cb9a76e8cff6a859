"""Names that resolve without root, /etc/hosts or a name server: in this process alone."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def resolve_to_loopback(domains: Iterable[str]) -> Iterator[None]:
    """Within it, each domain and every name below it resolves to 127.0.0.1.

    Clients thus connect to loopback under the real name: the `Host` header, the SNI and the
    name in the certificate are what they are in the field, and all verification stays on.
    """
    suffixes = tuple(domain.lower().strip(".") for domain in domains)
    original = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        return original("127.0.0.1" if _below(host, suffixes) else host, *args, **kwargs)

    socket.getaddrinfo = resolve
    try:
        yield
    finally:
        socket.getaddrinfo = original


def _below(host: object, suffixes: tuple[str, ...]) -> bool:
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if not isinstance(host, str):
        return False
    name = host.lower().removesuffix(".")
    return any(name == suffix or name.endswith(f".{suffix}") for suffix in suffixes)
