"""A demo origin: a small threaded web server that tells what reached it."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode
from websockets.server import ServerProtocol

from harness.ports import free_port

_STREAM_PAUSE = 0.01


class Origin:
    """Serves on 127.0.0.1 from `start` to `stop`; a context manager.

        /                any path: {"origin", "method", "path", "headers", "body", "sni"} as JSON
        /slow?seconds=N  the same, after N seconds
        /hold            the same, once the test calls `finish`
        /status/N        the same, with status N
        /until-close     the same without a length: the connection's end is the answer's
        /download        numbered lines in chunks, until `finish`
        /sse             numbered server-sent events, until `finish`
        /ws              a WebSocket that echoes

    `headers` is a list of [name, value] as they came. `statuses` maps a path to the status it
    answers with, to make health checks fail.
    """

    def __init__(self, name: str, *, tls: Path | None = None, port: int | None = None) -> None:
        self.name = name
        self.port = port or free_port()
        self.statuses: dict[str, int] = {}
        self.errors: list[BaseException] = []
        self.stopping = threading.Event()
        self._tls = tls
        self._lock = threading.Lock()
        self._hits: Counter[str] = Counter()
        self._busy = 0
        self._busiest = 0
        self._ended = threading.Event()
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Listen, and serve in threads; may follow a `stop`, on the same port."""
        self.stopping.clear()
        self._server = _Server(self, self.port)
        if self._tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._tls)
            context.sni_callback = _note_sni
            # The handshake is left to the connection's own thread.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name=self.name, daemon=True
        ).start()
        return self

    def stop(self) -> None:
        """Stop listening and cut every connection. Stopping twice is fine."""
        server, self._server = self._server, None
        if server is None:
            return
        self.stopping.set()
        self.finish()
        server.shutdown()
        server.server_close()
        server.cut()

    def finish(self) -> None:
        """End the downloads, event streams and held requests there are; later ones go on."""
        ended, self._ended = self._ended, threading.Event()
        ended.set()

    @property
    def ended(self) -> threading.Event:
        return self._ended

    def hits(self, path: str) -> int:
        """How many requests for this path came in."""
        with self._lock:
            return self._hits[path]

    @property
    def busy(self) -> int:
        """How many requests are being worked on now (`/slow` and `/hold` take time)."""
        with self._lock:
            return self._busy

    @property
    def busiest(self) -> int:
        """The most requests that were being worked on at the same time."""
        with self._lock:
            return self._busiest

    @contextlib.contextmanager
    def counted(self, path: str) -> Any:
        """Count a request while it is worked on."""
        with self._lock:
            self._hits[path] += 1
            self._busy += 1
            self._busiest = max(self._busiest, self._busy)
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def __init__(self, origin: Origin, port: int) -> None:
        self.origin = origin
        self._open: set[Any] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as inherited
        error = sys.exception()
        if error is not None and not isinstance(error, OSError | ConnectionClosed):
            self.origin.errors.append(error)

    def cut(self) -> None:
        for connection in tuple(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def handle_any(self) -> None:
        origin = self.server.origin
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = url.path.split("/")[1:]
        # Counted up to the answer, not during it: the next request may come before it is out.
        with origin.counted(url.path):
            match parts:
                case ["slow"]:
                    origin.stopping.wait(float(query.get("seconds", "1")))
                case ["hold"]:
                    origin.ended.wait()
        match parts:
            case ["ws"]:
                self._echo_websocket()
            case ["download"]:
                self._stream("text/plain", "{}\n")
            case ["sse"]:
                self._stream("text/event-stream", "data: {}\n\n")
            case ["status", code]:
                self._describe(int(code), body)
            case ["until-close"]:
                self._describe(200, body, keep=False)
            case _:
                self._describe(origin.statuses.get(url.path, 200), body)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = handle_any  # noqa: N815

    def _describe(self, status: int, body: bytes, *, keep: bool = True) -> None:
        seen = {
            "origin": self.server.origin.name,
            "method": self.command,
            "path": self.path,
            "headers": [[name, value] for name, value in self.headers.items()],
            "body": body.decode("utf-8", "replace"),
            "sni": getattr(self.connection, "harness_sni", None),
        }
        data = json.dumps(seen).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if keep:
            self.send_header("Content-Length", str(len(data)))
        else:
            self.send_header("Connection", "close")
        self.send_header("X-Origin", self.server.origin.name)
        self.send_header("X-Powered-By", "harness")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _stream(self, media_type: str, pattern: str) -> None:
        ended = self.server.origin.ended
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        number = 0
        while not ended.wait(_STREAM_PAUSE):
            self._chunk(pattern.format(number).encode())
            number += 1
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _echo_websocket(self) -> None:
        """RFC 6455, by the sans-I/O protocol of `websockets`."""
        self.close_connection = True
        protocol = ServerProtocol()
        head = f"{self.requestline}\r\n{self.headers.as_string()}"
        protocol.receive_data(head.replace("\r\n", "\n").replace("\n", "\r\n").encode())
        data: bytes | None = None
        while True:
            if data is not None:
                protocol.receive_data(data) if data else protocol.receive_eof()
            for event in protocol.events_received():
                if getattr(event, "opcode", None) is Opcode.TEXT:
                    protocol.send_text(event.data)  # type: ignore[union-attr]
                elif getattr(event, "opcode", None) is Opcode.BINARY:
                    protocol.send_binary(event.data)  # type: ignore[union-attr]
                elif getattr(event, "opcode", None) is None:
                    protocol.send_response(protocol.accept(event))  # type: ignore[arg-type]
            for out in protocol.data_to_send():
                if not out:
                    return
                self.wfile.write(out)
            if data == b"":
                return
            data = self.connection.recv(65_536)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Nothing: tests read what reached the origin from its answers."""


def _note_sni(connection: Any, name: str | None, _: ssl.SSLContext) -> None:
    connection.harness_sni = name
