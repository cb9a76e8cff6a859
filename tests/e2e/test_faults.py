"""Whatever breaks about processes, disk, database, origins and visitors, on either backend.

One row a test: a fault, what is said of it meanwhile, and that within ten seconds of its end all
that was acknowledged is served, while visitors of other routes noticed nothing, unless the fault is
HAProxy's own, and then only until it is back. The report beside the JUnit file has all of them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
from collections.abc import Callable, Iterator

import httpx
import pytest

from harness.errors import HarnessError
from harness.patient import Patient
from harness.polling import until
from harness.processes import alive, kill
from harness.rude import Manner, RudeOrigin
from harness.stack import Stack
from tests.e2e.faults import MIB, file_system, fill, healed, healing, read_only

MakeStack = Callable[..., Stack]

# What a HAProxy that answers nothing looks like, by backend.
SILENCE = {"file": "runtime socket", "dataplane": "the Data Plane API"}


@pytest.fixture
def patient(chosen_patient: Patient) -> Patient:
    return chosen_patient


def refused(patient: Patient, name: str, words: str) -> None:
    """A new route can't be stored: 503, which says why and when to come back."""
    answer = patient.agent.api.http(name, patient.origin("a").url)
    assert answer.status_code == 503, answer.text
    assert words in answer.text
    assert "retry-after" in answer.headers
    patient.said = answer.json().get("detail", answer.text)


@contextlib.contextmanager
def standing_still(pid: int) -> Iterator[None]:
    """A process that is stopped (SIGSTOP)."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# --- processes ---


@pytest.mark.long
def test_the_front_server_is_killed(patient: Patient) -> None:
    patient.publish("before", patient.origin("a"))
    patient.stack.front.kill()
    assert patient.broken() == []
    with healing(patient, "front server killed"):
        patient.stack.front.start(ready=False)


@pytest.mark.long
def test_the_front_server_is_killed_while_it_stores(patient: Patient) -> None:
    front = patient.stack.front
    for number in range(3):
        if number:
            front.start(ready=False)
        patient.attempt(f"stores-{number}", patient.origin("b"), wait=0)
        front.kill()
    with healing(patient, "front server killed right after an answer, three times"):
        front.start(ready=False)


def test_haproxys_master_alone_is_killed(patient: Patient) -> None:
    """As when memory is short: its worker must not stay, and keep the ports from the next one."""
    front = patient.stack.front
    master, worker = front.sockets.master_pid(), front.sockets.worker_pid()
    with healing(patient, "HAProxy's master killed, and it alone", undisturbed=False):
        kill(master)
        until("its worker has gone", lambda: not alive(worker))
        front.revive_haproxy()
    assert front.sockets.master_pid() != master


@pytest.mark.long
def test_haproxys_worker_stands_still(patient: Patient) -> None:
    """It takes connections and commands, and answers none."""
    with standing_still(patient.stack.front.sockets.worker_pid()):
        answer = patient.publish("stuck", patient.origin("a"), wait=1)
        assert answer["status"] == "pending"
        patient.until_it_says(SILENCE[patient.stack.backend])
    healed(patient, "HAProxy's worker stopped (SIGSTOP)", undisturbed=False)


@pytest.mark.long
def test_haproxys_master_stands_still(patient: Patient) -> None:
    """What needs a reload waits; so does all else if it is asked for through the master."""
    live = "active" if patient.stack.backend == "file" else "pending"
    with standing_still(patient.stack.front.sockets.master_pid()):
        assert patient.publish("no-reload", patient.origin("a"), wait=1)["status"] == live
        headers = {"request": {"set": {"X-Master": "1"}}}
        waits = patient.publish("reload", patient.origin("b"), wait=1, headers=headers)
        assert waits["status"] == "pending"
        assert patient.broken(patient.untouched) == []
        if live == "pending":
            patient.until_it_says(SILENCE["dataplane"])
    healed(patient, "HAProxy's master stopped (SIGSTOP)")


# --- the disk that the state is on ---


@pytest.mark.long
def test_the_state_disk_is_full(make_stack: MakeStack) -> None:
    stack = make_stack(start=False)
    with file_system(stack.front.state_dir, 24 * MIB) as place:
        stack.front.start()
        with Patient(stack) as patient:
            patient.until_written()
            filler = fill(place)
            refused(patient, "full", "can't be read or stored")
            assert patient.broken(patient.untouched) == []
            with healing(patient, "the disk of the state full"):
                filler.unlink()
                assert patient.publish("room", patient.origin("a"))["status"] == "active"
        stack.front.clean_up()


@pytest.mark.long
def test_the_state_directory_is_read_only(patient: Patient) -> None:
    """A front server that is started there ends, and says why; what HAProxy runs goes on."""
    front = patient.stack.front
    front.kill()
    with read_only(front.state_dir):
        with pytest.raises(HarnessError) as ended:
            front.start(ready=False)
        assert "Traceback" not in str(ended.value)
        patient.said = next(line for line in str(ended.value).splitlines() if "ead-only" in line)
        assert patient.broken() == []
    with healing(patient, "the directory of the state read-only, and a restart"):
        front.start(ready=False)


# --- the database ---


def test_the_database_is_locked_by_another_process(patient: Patient) -> None:
    path = patient.stack.front.state_dir / "state.sqlite3"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused(patient, "locked", "can't be read or stored")
        other.execute("ROLLBACK")
    healed(patient, "the database locked by another process")


def test_the_database_is_gone(patient: Patient) -> None:
    """It must not be written into a file that nobody will ever find again."""
    path = patient.stack.front.state_dir / "state.sqlite3"
    aside = path.with_name("aside.sqlite3")
    path.rename(aside)
    refused(patient, "gone", "can't be read or stored")
    with healing(patient, "the database's file gone, and back"):
        aside.rename(path)
        assert patient.publish("back", patient.origin("a"))["status"] == "active"


# --- origins and visitors ---


@pytest.mark.long
def test_an_origin_is_down(patient: Patient) -> None:
    origin = patient.origin("b")
    patient.publish("origin-down", origin)
    origin.stop()
    assert patient.stack.get("origin-down").status_code == 503
    with healing(patient, "an origin down"):
        origin.start()


@pytest.mark.long
@pytest.mark.parametrize(("manner", "status"), [("reset", 502), ("silent", 504), ("half", None)])
def test_an_origin_is_rude(patient: Patient, manner: Manner, status: int | None) -> None:
    """Its own visitors see that, and nobody else's; it heals with the origin."""
    name = f"rude-{manner}"
    with RudeOrigin(manner) as rude:
        answer = patient.agent.api.http(name, rude.url, timeouts={"server": 1})
        assert answer.json()["status"] == "active"
        if status is None:
            with pytest.raises(httpx.RemoteProtocolError):
                patient.stack.get(name)
        else:
            assert patient.stack.get(name).status_code == status
        patient.visitors.wait_for(20)
    with healing(patient, f"an origin that is rude: {manner}"):
        patient.publish(name, patient.origin("a"))


@pytest.mark.long
def test_visitors_that_never_end_their_request(patient: Patient) -> None:
    port = patient.stack.front.http_port
    with contextlib.ExitStack() as held:
        for _ in range(200):
            connection = held.enter_context(socket.create_connection(("127.0.0.1", port), 5))
            connection.sendall(b"GET / HTTP/1.1\r\nHost: ")
        assert patient.publish("beside-them", patient.origin("a"))["status"] == "active"
        patient.visitors.wait_for(20)
    healed(patient, "200 visitors that never end their request")
