"""The API's socket: had at once, or refused with what to do."""

from __future__ import annotations

import socket

import pytest

from frontserver.composition.api import listening_socket
from frontserver.errors import ProcessConflictError
from frontserver.model.targets import HostPort


def test_a_socket_that_listens_already_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ProcessConflictError, match=f"can't listen on 127.0.0.1:{port}"):
            listening_socket(HostPort("127.0.0.1", port))


def test_answers_arent_held_back_by_nagles_algorithm() -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    with listening_socket(HostPort("127.0.0.1", port)) as listener:
        # asyncio sets TCP_NODELAY only where the protocol is named.
        assert listener.proto == socket.IPPROTO_TCP
