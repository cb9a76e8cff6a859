"""A test of your own against the real product: `pytest -p harness.plugin examples`."""

import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from harness import Stack


def test_my_app_is_served() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as app, Stack() as stack:
        threading.Thread(target=app.serve_forever).start()
        stack.agent("my-host").http("shop", f"http://127.0.0.1:{app.server_port}")
        assert "Directory listing" in stack.get("shop").text
        app.shutdown()
