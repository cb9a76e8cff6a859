"""A Data Plane API that answers what a test tells it to, and notes what it was asked.

Statuses and bodies are those of a real one, 3.2.13 with HAProxy 3.2.26.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import httpx

from frontserver.dataplane.client import DataPlaneClient
from harness.contract.checks import Request, check_request

PREFIX = "/v3/services/haproxy"
SOCKET = "/run/haproxy/master.sock"
REFUSED = f"dial unix {SOCKET}: connect: connection refused"

Said = tuple[int, str] | tuple[int, str, Mapping[str, str]] | Exception

INFO: Said = (
    200,
    f'{{"info":{{"pid":12558,"uptime":26,"version":"3.2.26-1"}},"runtimeAPI":"{SOCKET}"}}',
)
DOWN: Said = (200, f'{{"error":"{REFUSED} [show info typed]","runtimeAPI":"{SOCKET}"}}')


def refused(status: int, message: str) -> Said:
    """A refusal as the API words it."""
    return status, json.dumps({"code": status, "message": message})


class Api:
    """Answers by method and path below `PREFIX`; the last answer of a line is given for ever."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self._answers: dict[str, list[Said]] = {"GET /runtime/info": [INFO]}

    def says(self, line: str, *answers: Said) -> None:
        """What to answer to a method and path, with the query or for any."""
        self._answers[line] = list(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        check_request(Request.of(request))
        self.requests.append(request)
        line = _line(request)
        left = self._answers.get(line) or self._answers[line.partition("?")[0]]
        said = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(said, Exception):
            raise said
        status, text, *headers = said
        return httpx.Response(status, text=text, headers=headers[0] if headers else {})

    @property
    def lines(self) -> list[str]:
        """What was asked, such as `GET /runtime/info`."""
        return [_line(request) for request in self.requests]

    @property
    def sent(self) -> object:
        """The last request's JSON."""
        return json.loads(self.requests[-1].content)

    def client(self) -> DataPlaneClient:
        """A client of this API."""
        return DataPlaneClient(
            "http://dataplane.test:5555",
            user="admin",
            password="secret",
            transport=httpx.MockTransport(self),
        )


def _line(request: httpx.Request) -> str:
    return f"{request.method} {request.url.raw_path.decode().removeprefix(PREFIX)}"
