"""All that the double is asked and answers, entered in a journal."""

from __future__ import annotations

from collections.abc import Iterable

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, ReceiveMessage, Scope, Send

from harness.contract.checks import Answer, Request
from harness.contract.journal import Journal


def watched(app: ASGIApp, journal: Journal) -> ASGIApp:
    """`app`; of each exchange the journal knows before the client has the whole answer."""

    async def watching(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        # Before `app` is asked: what it refuses at once it never reads.
        body = await _read(receive)
        if body is not None:
            await _Exchange(scope, body, receive, send, journal).run(app)

    return watching


class _Exchange:
    """One request and what is answered."""

    def __init__(
        self, scope: HTTPScope, body: bytes, receive: Receive, send: Send, journal: Journal
    ) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._journal = journal
        path, query = scope["raw_path"].decode(), scope["query_string"].decode()
        target = f"{path}?{query}" if query else path
        self._request = Request(scope["method"], target, _named(scope["headers"]), body)
        self._unread = True
        self._status = 0
        self._headers: dict[str, str] = {}
        self._content = b""
        self._complete = False

    async def run(self, app: ASGIApp) -> None:
        try:
            await app(self._scope, self._receive_again, self._send_and_keep)
        finally:
            if not self._complete:
                self._journal.enter(self._request, None)

    async def _receive_again(self) -> ReceiveMessage:
        if not self._unread:
            return await self._receive()
        self._unread = False
        return {"type": "http.request", "body": self._request.body, "more_body": False}

    async def _send_and_keep(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], _named(message["headers"])
        elif message["type"] == "http.response.body":
            self._content += message["body"]
            if not message["more_body"]:
                self._complete = True
                answer = Answer(self._status, self._headers, self._content)
                self._journal.enter(self._request, answer)
        await self._send(message)


async def _read(receive: Receive) -> bytes | None:
    """The whole body; `None` if the client is gone before its end."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message["body"]
        more = message["more_body"]
    return body


def _named(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode().lower(): value.decode("latin-1") for name, value in headers}
