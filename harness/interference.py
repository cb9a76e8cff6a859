"""A proxy in front of a Data Plane API that delays, refuses or drops what a test chooses.

with Interference(port) as between:
    between.make(Trouble("POST .*/raw", status=500, message="no space left"))
    ...
    between.clear()
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

import httpx
import msgspec

from harness.contract.checks import Answer, Request
from harness.contract.journal import Journal
from harness.ports import free_port
from harness.resets import reset

# Headers of one hop (RFC 9110 section 7.6.1), and what is set anew.
_OWN = frozenset({"connection", "content-length", "date", "server", "transfer-encoding"})


class Trouble(msgspec.Struct, frozen=True):
    """What befalls requests of which `match`, a pattern, is found in `METHOD /path?query`.

    `delay` is in seconds, before anything else. With `status` the API isn't asked; its answer is
    `message` as the API words refusals. `drop` resets the connection, `before` the API has seen the
    request or `after` it has answered. `meanwhile` is called in a thread while the API works on it.
    `times` is how often it strikes, `None` always.
    """

    match: str
    delay: float = 0.0
    status: int | None = None
    message: str = "as the test wants it"
    drop: Literal["before", "after"] | None = None
    meanwhile: Callable[[], None] | None = None
    times: int | None = None


class Interference:
    """Listens on `port` of 127.0.0.1 and hands requests on to `target`, another port there.

    Without any trouble it changes nothing. A context manager; what fails behind it looks to the
    client like a connection that was reset. What is handed on is entered in `journal`, if there is
    one: behind it is a Data Plane API then.
    """

    def __init__(self, target: int = 0) -> None:
        self.target = target
        self.journal: Journal | None = None
        self.port = free_port()
        self.stopping = threading.Event()
        self.client = httpx.Client(trust_env=False, timeout=120)
        self._trouble: list[tuple[Trouble, int]] = []
        self._lock = threading.Lock()
        self._struck = 0
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def struck(self) -> int:
        """How many requests had trouble since the last `make`."""
        with self._lock:
            return self._struck

    def make(self, *trouble: Trouble) -> None:
        """Have this trouble instead of what was before; of several, the first that matches."""
        with self._lock:
            self._trouble = [(one, 0) for one in trouble]
            self._struck = 0

    def clear(self) -> None:
        """No more trouble."""
        self.make()

    def trouble_for(self, request: str) -> Trouble | None:
        """What befalls a request, counted."""
        with self._lock:
            for number, (one, count) in enumerate(self._trouble):
                if re.search(one.match, request) and one.times != count:
                    self._trouble[number] = (one, count + 1)
                    self._struck += 1
                    return one
        return None

    def __enter__(self) -> Self:
        self._server = _Server(self)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stopping.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self.client.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, between: Interference) -> None:
        self.between = between
        super().__init__(("127.0.0.1", between.port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that has gone is part of the trouble."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def handle_any(self) -> None:
        between = self.server.between
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        trouble = between.trouble_for(f"{self.command} {self.path}")
        if trouble is None:
            self._hand_on(body)
            return
        if trouble.delay:
            between.stopping.wait(trouble.delay)
        if trouble.drop == "before":
            self._reset()
        elif trouble.status is not None:
            said = {"code": trouble.status, "message": trouble.message}
            self._answer(trouble.status, {"content-type": "application/json"}, said)
        else:
            if trouble.meanwhile is not None:
                threading.Thread(target=trouble.meanwhile, daemon=True).start()
            self._hand_on(body, drop=trouble.drop is not None)

    do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

    def _hand_on(self, body: bytes, *, drop: bool = False) -> None:
        between = self.server.between
        headers = {n: v for n, v in self.headers.items() if n.lower() not in _OWN}
        url = f"http://127.0.0.1:{between.target}{self.path}"
        try:
            answer = between.client.request(self.command, url, content=body, headers=headers)
        except httpx.HTTPError:
            self._reset()
            return
        self._enter(body, answer)
        if drop:
            self._reset()
            return
        self._answer(answer.status_code, dict(answer.headers), answer.content)

    def _enter(self, body: bytes, answer: httpx.Response) -> None:
        journal = self.server.between.journal
        if journal is not None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            journal.enter(Request(self.command, self.path, headers, body), Answer.of(answer))

    def _answer(self, status: int, headers: dict[str, str], content: bytes | object) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _OWN:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _reset(self) -> None:
        self.close_connection = True
        reset(self.connection)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Nothing: what the API says is in its own log."""
