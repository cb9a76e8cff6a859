"""Whatever breaks about HAProxy, the disk or the database, on the file backend.

One row a test: a fault, what is said of it meanwhile, and that within ten seconds after its end all
that was acknowledged is served, while visitors of other routes noticed nothing, unless the fault is
HAProxy's own. `.reports/faults.md` has how long each took.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from harness.patient import Patient
from harness.polling import until
from harness.processes import kill
from harness.rude import Manner, RudeOrigin
from harness.stack import Stack
from tests.e2e.faults import MIB, file_system, fill, healed

pytestmark = pytest.mark.file_backend("the front server's own HAProxy, files and sockets")

MakeStack = Callable[..., Stack]


@pytest.fixture(scope="module")
def ward() -> Iterator[Patient]:
    """A stack that is broken again and again."""
    with Stack(backend="file") as stack:
        yield Patient(stack)


@pytest.fixture
def patient(ward: Patient) -> Iterator[Patient]:
    """`ward`, in good health, and visited."""
    ward.healed(30)
    ward.until_written()
    with ward:
        yield ward


def refused(patient: Patient, name: str, words: str) -> None:
    """A new route can't be stored: 503, which says why and when to come back."""
    answer = patient.agent.api.http(name, patient.origin("a").url)
    assert answer.status_code == 503, answer.text
    assert words in answer.text
    assert "retry-after" in answer.headers
    patient.said = answer.json().get("detail", answer.text)


# --- processes ---


def test_the_front_server_is_killed(patient: Patient) -> None:
    patient.publish("before", patient.origin("a"))
    patient.stack.front.kill()
    assert patient.broken() == []
    patient.stack.front.start(ready=False)
    healed(patient, "front server killed")


def test_the_front_server_is_killed_while_it_stores(patient: Patient) -> None:
    for number in range(3):
        patient.attempt(f"stores-{number}", patient.origin("b"), wait=0)
        patient.stack.front.kill()
        patient.stack.front.start(ready=False)
    healed(patient, "front server killed right after an answer, three times")


def test_haproxy_is_killed(patient: Patient) -> None:
    patient.stack.front.kill_haproxy()
    healed(patient, "HAProxy killed", undisturbed=False)


def test_haproxys_worker_is_killed(patient: Patient) -> None:
    worker = patient.stack.front.sockets.worker_pid()
    kill(worker)
    healed(patient, "HAProxy's worker killed", undisturbed=False)
    assert patient.stack.front.sockets.worker_pid() != worker


def test_both_are_killed(patient: Patient) -> None:
    patient.publish("last", patient.origin("b"))
    patient.stack.front.kill()
    patient.stack.front.kill_haproxy()
    patient.stack.front.start(ready=False)
    healed(patient, "front server and HAProxy killed", undisturbed=False)


def test_haproxys_worker_stands_still(patient: Patient) -> None:
    """Its runtime socket takes commands and answers none."""
    worker = patient.stack.front.sockets.worker_pid()
    os.kill(worker, signal.SIGSTOP)
    try:
        answer = patient.publish("stuck", patient.origin("a"), wait=1)
        assert answer["status"] == "pending"
        patient.until_it_says("runtime socket")
    finally:
        os.kill(worker, signal.SIGCONT)
    healed(patient, "HAProxy's worker stopped (SIGSTOP)", undisturbed=False)


def test_haproxys_master_stands_still(patient: Patient) -> None:
    """What needs no reload goes on; what does waits."""
    master = patient.stack.front.sockets.master_pid()
    os.kill(master, signal.SIGSTOP)
    try:
        assert patient.publish("no-reload", patient.origin("a"))["status"] == "active"
        headers = {"request": {"set": {"X-Master": "1"}}}
        waits = patient.publish("reload", patient.origin("b"), wait=1, headers=headers)
        assert waits["status"] == "pending"
        assert patient.broken([*patient.untouched, "no-reload"]) == []
    finally:
        os.kill(master, signal.SIGCONT)
    healed(patient, "HAProxy's master stopped (SIGSTOP)")


def test_an_old_worker_that_stays_is_no_fault(patient: Patient) -> None:
    """Somebody reloads again and again."""
    for _ in range(5):
        patient.stack.front.reload_haproxy()
    healed(patient, "five reloads by somebody else")


def test_haproxy_may_open_few_files(make_stack: MakeStack) -> None:
    """It reserves one for each health check: what it couldn't start with is refused, by route."""
    patient = Patient(make_stack(backend="file"))
    front = patient.stack.front
    resource.prlimit(front.pid, resource.RLIMIT_NOFILE, (600, 600))
    front.kill_haproxy()
    patient.healed(30)
    with patient:
        for number in range(600):
            name = f"patient-check-{number}"
            answer = patient.agent.api.http(name, patient.origin("a").url, wait=15, check=True)
            said = answer.json()
            if said["status"] != "active":
                break
            patient.promises[name] = patient.origin("a").name
        assert 60 < number < 200
        assert said["status"] == "failed"
        assert "LimitNOFILE" in said["reason"]
        patient.said = said["reason"]
        patient.publish("patient-plain", patient.origin("b"))
        assert patient.visitors.complaints == []
    with patient:
        front.kill_haproxy()
        healed(patient, "HAProxy killed with as many checks as it has files for", undisturbed=False)


# --- what HAProxy runs, changed behind the front server's back ---


def name_of(patient: Patient, map_name: str) -> str:
    """What HAProxy calls a map."""
    listed = patient.stack.front.sockets.run("show map")
    return next(word for line in listed.splitlines() for word in line.split()[1:2]
                if word.strip("()").endswith(f"{map_name}.map")).strip("()")  # fmt: skip


def test_a_map_is_emptied_at_run_time(patient: Patient) -> None:
    hosts = name_of(patient, "hosts")
    patient.stack.front.sockets.run(f"clear map {hosts}")
    healed(patient, "a map emptied over the runtime socket", undisturbed=False)


def test_an_entry_is_changed_at_run_time(patient: Patient) -> None:
    patient.publish("entry", patient.origin("b"))
    hosts = name_of(patient, "hosts")
    patient.stack.front.sockets.run(f"set map {hosts} entry.apps.example.com fs_none")
    assert patient.broken(["entry"]) != []
    healed(patient, "a map entry changed over the runtime socket")


def test_a_server_is_put_into_maintenance_at_run_time(patient: Patient) -> None:
    patient.publish("drained", patient.origin("b"))
    hosts = name_of(patient, "hosts")
    said = patient.stack.front.sockets.run(f"get map {hosts} drained.apps.example.com")
    backend = said.partition('value="')[2].partition('"')[0]
    states = patient.stack.front.sockets.run(f"show servers state {backend}")
    server = states.splitlines()[2].split()[3]
    patient.stack.front.sockets.run(f"disable server {backend}/{server}")
    until("it is out of service", lambda: patient.broken(["drained"]))
    healed(patient, "a server put into maintenance over the runtime socket")


# --- files ---


def test_a_map_file_is_edited_and_loaded(patient: Patient) -> None:
    hosts = patient.stack.front.maps_dir / "hosts.map"
    hosts.write_text("".join(hosts.read_text().splitlines(keepends=True)[:1]))
    patient.stack.front.reload_haproxy()
    healed(patient, "a map file cut short by hand, and loaded", undisturbed=False)


def test_the_runtime_socket_is_removed(patient: Patient) -> None:
    """Commands go through the master instead."""
    patient.stack.front.sockets.runtime.unlink()
    answer = patient.publish("without-socket", patient.origin("a"))
    assert answer["status"] in {"active", "pending"}
    patient.stack.front.reload_haproxy()
    healed(patient, "the runtime socket's file removed")


@pytest.fixture
def small(make_stack: MakeStack) -> Iterator[tuple[Patient, Path]]:
    """A patient whose state is on a file system of 24 MiB."""
    stack = make_stack(backend="file", start=False)
    with file_system(stack.front.state_dir, 24 * MIB) as place:
        stack.front.start()
        yield Patient(stack), place
        stack.front.clean_up()


def test_the_disk_is_full(small: tuple[Patient, Path]) -> None:
    patient, place = small
    with patient:
        patient.until_written()
        filler = fill(place)
        refused(patient, "full", "can't be read or stored")
        assert patient.broken(patient.untouched) == []
        filler.unlink()
        assert patient.publish("room", patient.origin("a"))["status"] == "active"
        healed(patient, "the disk full")


def test_the_configuration_cannot_be_written(patient: Patient) -> None:
    """Routes go live all the same, and that the files are behind is a warning."""
    place = patient.stack.front.config_dir
    mount, umount = shutil.which("mount") or "mount", shutil.which("umount") or "umount"
    bound = subprocess.run(
        [mount, "--bind", str(place), str(place)], capture_output=True, text=True, check=False
    )
    if bound.returncode != 0:
        pytest.skip(f"nothing can be mounted here: {bound.stderr}")
    try:
        subprocess.run([mount, "-o", "remount,bind,ro", str(place)], check=True)
        assert patient.publish("read-only", patient.origin("a"))["status"] == "active"
        until("there is a warning", lambda: any("ead-only" in w for w in patient.warnings()))
        patient.said = "; ".join(patient.warnings())
        assert patient.reasons() == ""
    finally:
        subprocess.run([umount, "-l", str(place)], check=True)
    healed(patient, "the directory of the configuration read-only")
    until("no warning is left", lambda: patient.warnings() == [])


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
    aside.rename(path)
    assert patient.publish("back", patient.origin("a"))["status"] == "active"
    healed(patient, "the database's file gone, and back")


# --- origins and visitors ---


def test_an_origin_is_down(patient: Patient) -> None:
    origin = patient.origin("b")
    patient.publish("origin-down", origin)
    origin.stop()
    assert patient.stack.get("origin-down").status_code == 503
    origin.start()
    healed(patient, "an origin down")


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
    patient.publish(name, patient.origin("a"))
    healed(patient, f"an origin that is rude: {manner}")


def test_visitors_that_never_end_their_request(patient: Patient) -> None:
    port = patient.stack.front.http_port
    with contextlib.ExitStack() as held:
        for _ in range(200):
            connection = held.enter_context(socket.create_connection(("127.0.0.1", port), 5))
            connection.sendall(b"GET / HTTP/1.1\r\nHost: ")
        assert patient.publish("beside-them", patient.origin("a"))["status"] == "active"
        patient.visitors.wait_for(20)
    healed(patient, "200 visitors that never end their request")
