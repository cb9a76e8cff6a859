"""A test of your own against the real product: `pytest -p harness.plugin examples`."""

import threading
from http.server import HTTPServer, SimpleHTTPRequestHandler

from harness import Stack


def test_my_app_is_served() -> None:
    app = HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)
    threading.Thread(target=app.serve_forever, daemon=True).start()
    with Stack() as stack:
        stack.agent("my-host").http("shop", f"http://127.0.0.1:{app.server_port}")
        assert "Directory listing" in stack.get("shop").text
    app.shutdown()
