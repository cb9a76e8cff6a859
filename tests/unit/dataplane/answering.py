"""A Data Plane API that answers what a test tells it to, and notes what it was asked."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from frontserver.dataplane.client import DataPlaneClient

INFO = (
    '{"info":{"node":"vm","pid":12558,"uptime":26,"version":"3.2.26-1"},'
    '"runtimeAPI":"/run/haproxy/master.sock"}'
)
PREFIX = "/v3/services/haproxy"

Said = tuple[int, str] | tuple[int, str, Mapping[str, str]] | Exception


class Api:
    """Answers by method and path below `PREFIX`; the last answer to a request is given for ever."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self._answers: dict[str, list[Said]] = {}
        self.says("GET /runtime/info", (200, INFO))

    def says(self, request: str, *answers: Said) -> None:
        self._answers[request] = list(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        line = self.line(request)
        if line not in self._answers:
            line = line.partition("?")[0]
        left = self._answers[line]
        said = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(said, Exception):
            raise said
        status, text, *headers = said
        return httpx.Response(status, text=text, headers=headers[0] if headers else {})

    @staticmethod
    def line(request: httpx.Request) -> str:
        return f"{request.method} {request.url.raw_path.decode().removeprefix(PREFIX)}"

    @property
    def lines(self) -> list[str]:
        return [self.line(request) for request in self.requests]

    def client(self) -> DataPlaneClient:
        return DataPlaneClient(
            "http://dataplane.test:5555",
            user="admin",
            password="secret",
            transport=httpx.MockTransport(self),
        )
