"""A test of your own against the real product: `pytest -p harness.plugin test_my_app.py`."""

import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness import Stack


@pytest.fixture
def my_app() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as app:
        threading.Thread(target=app.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{app.server_port}"
        app.shutdown()


def test_my_app_is_served(my_app: str) -> None:
    with Stack() as stack:
        stack.agent("my-host").http("shop", my_app)
        assert "Directory listing" in stack.get("shop").text
