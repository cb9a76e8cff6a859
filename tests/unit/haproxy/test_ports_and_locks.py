"""One HAProxy a port, one HAProxy a run directory, one control plane a run directory."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from frontserver.errors import ProcessConflictError, StorageError
from frontserver.haproxy import locks, procfs
from frontserver.haproxy.locks import ControllerLock
from frontserver.haproxy.ports import require_free


def test_free_ports_are_accepted(free_port: Callable[[], int]) -> None:
    require_free([("127.0.0.1", free_port()), ("0.0.0.0", free_port())])


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_listener_is_found_even_if_it_would_share(host: str, *, shared: bool) -> None:
    """Red list R9: with SO_REUSEPORT, as HAProxy uses it, both would answer."""
    with socket.socket() as listener:
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(ProcessConflictError, match=f"{host}:{port} is taken") as caught:
            require_free([(host, port)])
        assert f"PID {os.getpid()}" in caught.value.message


def test_past_connections_do_not_hold_a_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address) as client:
            accepted, _ = listener.accept()
            # The side that closes first keeps the port in TIME_WAIT.
            accepted.close()
            assert client.recv(1) == b""
    require_free([address])


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ProcessConflictError, match=r"192\.0\.2\.1:8080 can't be bound"):
        require_free([("192.0.2.1", 8080)])


def test_an_ipv6_bind_is_shown_with_brackets() -> None:
    with pytest.raises(ProcessConflictError, match=r"\[2001:db8::1\]:8080 can't be bound"):
        require_free([("2001:db8::1", 8080)])


def test_nobody_listens_on_a_free_port(free_port: Callable[[], int]) -> None:
    assert procfs.listener(free_port()) is None


def test_the_control_plane_that_runs_is_known_by_its_process(place: Path) -> None:
    lock = ControllerLock(place / "run")
    assert ControllerLock(place / "run").holder() is None
    with lock:
        assert ControllerLock(place / "run").holder() == os.getpid()
    assert ControllerLock(place / "run").holder() is None, "the file is there, and nobody holds it"


def test_a_second_control_plane_is_refused_by_name(place: Path) -> None:
    with (
        ControllerLock(place / "run"),
        pytest.raises(ProcessConflictError, match=f"PID {os.getpid()}"),
    ):
        ControllerLock(place / "run").acquire()


def test_a_released_lock_is_free(place: Path) -> None:
    lock = ControllerLock(place)
    with lock:
        pass
    lock.release()
    with ControllerLock(place):
        assert locks.take(place / "controller.lock") is None


def test_a_lock_file_without_a_pid_is_no_obstacle(place: Path) -> None:
    descriptor = locks.take(place / "controller.lock")
    assert descriptor is not None
    with pytest.raises(ProcessConflictError, match="another control plane drives"):
        ControllerLock(place).acquire()
    os.close(descriptor)


def test_a_lock_that_cant_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("not a directory")
    with pytest.raises(StorageError, match="can't be opened: "):
        ControllerLock(tmp_path / "run").acquire()
