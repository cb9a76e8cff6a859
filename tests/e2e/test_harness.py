"""The harness tells when something breaks: otherwise what it watches over proves nothing."""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient
from websockets.sync.client import connect

from harness.certificates import ThrowawayCa
from harness.errors import HarnessError, UnavailableError
from harness.haproxy import find_haproxy
from harness.mongo import Mongod, find_mongod
from harness.names import resolve_to_loopback
from harness.origin import Origin
from harness.polling import until
from harness.ports import free_port
from harness.processes import Child, alive, processes_of, sweep
from harness.readers import Reader
from harness.stack import Stack
from harness.traffic import Download, Load
from harness.wires import Dead, Torn, Wire


def test_load_notices_a_refused_connection_and_a_wrong_status() -> None:
    with Origin("load") as origin:

        def visit(client: httpx.Client) -> str | None:
            answer = client.get(origin.url + "/x")
            return None if answer.status_code == 200 else f"status {answer.status_code}"

        with Load(visit) as load:
            load.wait_for(20)
            assert load.complaints == []
            origin.statuses["/x"] = 500
            until("a status is told", lambda: "status 500" in load.complaints)
            origin.stop()
            until("a refusal is told", lambda: any("Error" in c for c in load.complaints))


def test_download_notices_an_end_before_its_time() -> None:
    with Origin("download") as origin, Download(origin.url + "/download") as download:
        download.wait_for(3)
        origin.finish()
        assert download.end() >= 3
    with Origin("download") as origin:
        with Download(origin.url + "/status/503") as download:
            pass
        with pytest.raises(HarnessError, match="broke"):
            download.end()


def test_download_notices_a_cut() -> None:
    """A connection that ends without the last chunk isn't a regular end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with Download(url) as download:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n0\n\r\n"
                )
        with pytest.raises(HarnessError, match="broke after 1 lines"):
            download.end()


@pytest.fixture(scope="module")
def mongod(mongod_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """One that has a document."""
    with Mongod(tmp_path_factory.mktemp("read"), binary=mongod_binary) as mongod:
        with MongoClient[dict[str, Any]]("127.0.0.1", mongod.port, directConnection=True) as client:
            client.fleet.owner.insert_one({"_id": 1, "agent": "left"})
        yield mongod


def reader(port: int) -> Reader:
    return Reader("127.0.0.1", port, ("fleet", "owner"), "agent", "left", socketTimeoutMS=500)


def test_a_reader_notices_a_cut(mongod: Mongod) -> None:
    """Also between two reads, and it reads again later."""
    with Wire(mongod.port) as wire, reader(wire.port) as reading:
        reading.wait_for(3)
        assert not reading.is_cut
        wire.have(Torn())
        until("the cut is noticed", lambda: reading.is_cut)
        until("it is told", lambda: reading.complaints)
        wire.mend()
        reading.wait_for(3)
        assert reading.connections > 1


def test_a_reader_notices_silence(mongod: Mongod) -> None:
    with Wire(mongod.port) as wire, reader(wire.port) as reading:
        wire.have(Dead())
        until("silence is told", lambda: any("timed out" in c for c in reading.complaints))
        assert reading.is_cut


def test_a_reader_notices_what_is_anothers(mongod: Mongod) -> None:
    with (
        reader(mongod.port) as reading,
        MongoClient[dict[str, Any]]("127.0.0.1", mongod.port, directConnection=True) as client,
    ):
        client.fleet.owner.update_one({"_id": 1}, {"$set": {"agent": "right"}})
        until("it is told", lambda: any("'right'" in c for c in reading.complaints))
        client.fleet.owner.update_one({"_id": 1}, {"$set": {"agent": "left"}})
        reading.wait_for(3)
        assert reading.is_cut


def test_an_origin_tells_what_reached_it_and_echoes() -> None:
    with Origin("echo") as origin:
        seen = httpx.post(origin.url + "/a?b=c", content=b"body", trust_env=False).json()
        assert [seen[name] for name in ("origin", "method", "path", "body")] == [
            "echo",
            "POST",
            "/a?b=c",
            "body",
        ]
        with connect(f"ws://127.0.0.1:{origin.port}/ws", proxy=None) as websocket:
            websocket.send("text")
            assert websocket.recv(5) == "text"
            websocket.send(b"\0" * 70_000)
            assert websocket.recv(5) == b"\0" * 70_000
        assert origin.errors == []


def test_names_resolve_only_within_the_block_and_are_verified(tmp_path: Path) -> None:
    """A certificate for another name is refused: verification is as real as the names aren't."""
    ca = ThrowawayCa(tmp_path)
    trust = ssl.create_default_context(cafile=ca.file)
    with Origin("tls", tls=ca.issue("a.loop.invalid")) as origin:
        with resolve_to_loopback(["loop.invalid"]):
            url = f"https://a.loop.invalid:{origin.port}/"
            answer = httpx.get(url, verify=trust, trust_env=False)
            assert answer.json()["sni"] == "a.loop.invalid"
            with pytest.raises(httpx.ConnectError, match="certificate"):
                httpx.get(url.replace("//a.", "//b."), verify=trust, trust_env=False)
        with pytest.raises(socket.gaierror):
            socket.getaddrinfo("a.loop.invalid", 80)


def test_until_tells_what_it_waited_for() -> None:
    with pytest.raises(HarnessError, match=r"not within 0.05 s: rain \(last: 0\)"):
        until("rain", lambda: 0, seconds=0.05)
    with pytest.raises(ZeroDivisionError):
        until("an error that isn't expected", lambda: 1 // 0, seconds=5)


def test_ports_are_free_and_given_once() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    with socket.create_server(("127.0.0.1", ports[0])):
        pass


def test_a_sweep_ends_what_works_below_a_directory_and_nothing_else(tmp_path: Path) -> None:
    below, beside = tmp_path / "below", tmp_path / "beside"
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    inside = Child("inside", [*command, below / "x"], log=tmp_path / "inside.log")
    outside = Child("outside", [*command, beside / "x"], log=tmp_path / "outside.log")
    try:
        until("it shows its arguments", lambda: processes_of(below) == (inside.pid,))
        sweep(below)
        assert not alive(inside.pid)
        assert alive(outside.pid)
    finally:
        outside.kill()
        inside.kill()


@pytest.mark.parametrize(
    ("variable", "find"),
    [("FRONTSERVER_HAPROXY_BIN", find_haproxy), ("FRONTSERVER_MONGOD_BIN", find_mongod)],
)
def test_a_wrong_binary_is_told_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, find: object
) -> None:
    monkeypatch.setenv(variable, "/nowhere")
    with pytest.raises(UnavailableError, match=variable):
        find()  # type: ignore[operator]


def test_a_library_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The reason to skip with names what to install."""
    program = tmp_path / "mongod"
    program.write_text("#!/bin/sh\necho 'cannot open libcurl.so.4' >&2\nexit 127\n")
    program.chmod(0o700)
    monkeypatch.setenv("FRONTSERVER_MONGOD_BIN", str(program))
    with pytest.raises(UnavailableError, match="install libcurl4"):
        find_mongod()


def test_a_mongod_that_does_not_start_shows_its_log(mongod_binary: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    mongod = Mongod(tmp_path, binary=mongod_binary, certificate=missing, ca=missing)
    with pytest.raises(HarnessError, match=r"missing\.pem"):
        mongod.start()


def test_a_front_server_is_restarted_whether_it_runs_or_not(
    make_stack: Callable[..., Stack],
) -> None:
    front = make_stack().front
    first = front.pid
    front.restart()
    second = front.pid
    assert second != first
    assert not alive(first)
    front.terminate()
    assert not front.runs
    front.restart()
    assert front.runs
    assert not alive(second)
