"""What one visitor meets at a stack."""

from __future__ import annotations

from typing import NamedTuple

import httpx

from harness.stack import Stack
from tests.stateful.model import MAINTENANCE, REDIRECT

# Names of headers that routes set, and nobody else sends.
MARK = "x-soak-"


class Met(NamedTuple):
    """A status, the origin if one answered, and what it saw of the headers that routes set.

    The status is 0 for an answer of HAProxy's that isn't one of ours; then the headers say why.
    """

    status: int
    origin: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


def visit(stack: Stack, name: str, path: str, scheme: str) -> Met:
    """One request. Raises `httpx.TransportError`."""
    answer = stack.client.get(stack.url(name, path, scheme=scheme))
    origin = answer.headers.get("X-Origin")
    if origin is not None:
        seen = ((header.lower(), value) for header, value in answer.json()["headers"])
        marked = tuple(each for each in seen if each[0].startswith(MARK))
        return Met(answer.status_code, origin, marked)
    if answer.status_code == MAINTENANCE and "maintenance" not in answer.text:
        return Met(0, None, (("instead of maintenance", answer.text),))
    if answer.status_code == REDIRECT:
        where = answer.headers["Location"]
        if where != stack.url(name, path, scheme="https"):
            return Met(0, None, (("redirected to", where),))
    return Met(answer.status_code)


def visit_mongodb(stack: Stack, domain: str) -> str | None:
    """Whose TLS a client of this domain is met by, `None` if it is refused."""
    try:
        answer = stack.client.get(f"https://{domain}:{stack.front.mongo_port}/")
    except httpx.TimeoutException:
        return "silence"
    except httpx.TransportError:
        return None
    return str(answer.headers.get("X-Origin"))
