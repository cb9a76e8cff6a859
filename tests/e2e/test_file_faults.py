"""Whatever breaks about a HAProxy that the front server runs, its files and its sockets.

One row a test, as in `test_faults.py`; these are the file backend's alone.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.frontserver import APP_DOMAIN
from harness.patient import Patient
from harness.polling import until
from harness.processes import kill
from harness.stack import Stack
from tests.e2e.faults import DRIFT, SOON, healed, healing, read_only

pytestmark = pytest.mark.file_backend("the front server's own HAProxy, files and sockets")

MakeStack = Callable[..., Stack]


@pytest.fixture
def patient(chosen_patient: Patient) -> Patient:
    return chosen_patient


# --- processes ---


def test_haproxy_is_killed(patient: Patient) -> None:
    with healing(patient, "HAProxy killed", undisturbed=False):
        patient.stack.front.kill_haproxy()


def test_haproxys_worker_is_killed(patient: Patient) -> None:
    worker = patient.stack.front.sockets.worker_pid()
    with healing(patient, "HAProxy's worker killed", undisturbed=False):
        kill(worker)
    assert patient.stack.front.sockets.worker_pid() != worker


def test_both_are_killed(patient: Patient) -> None:
    patient.publish("last", patient.origin("b"))
    patient.stack.front.kill()
    patient.stack.front.kill_haproxy()
    with healing(patient, "front server and HAProxy killed", undisturbed=False):
        patient.stack.front.start(ready=False)


def test_an_old_worker_that_stays_is_no_fault(patient: Patient) -> None:
    """Somebody reloads again and again."""
    with healing(patient, "five reloads by somebody else"):
        for _ in range(5):
            patient.stack.front.reload_haproxy()


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
        what = "HAProxy killed with as many checks as it has files for"
        with healing(patient, what, undisturbed=False):
            front.kill_haproxy()


# --- what HAProxy runs, changed behind the front server's back ---


def name_of(patient: Patient, map_name: str) -> str:
    """What HAProxy calls a map."""
    listed = patient.stack.front.sockets.run("show map")
    return next(word for line in listed.splitlines() for word in line.split()[1:2]
                if word.strip("()").endswith(f"{map_name}.map")).strip("()")  # fmt: skip


def backend_of(patient: Patient, name: str) -> str:
    """Which backend serves a route."""
    hosts = name_of(patient, "hosts")
    said = patient.stack.front.sockets.run(f"get map {hosts} {name}.{APP_DOMAIN}")
    return said.partition('value="')[2].partition('"')[0]


def test_a_map_is_emptied_at_run_time(patient: Patient) -> None:
    hosts = name_of(patient, "hosts")
    with healing(patient, "a map emptied over the runtime socket", undisturbed=False):
        patient.stack.front.sockets.run(f"clear map {hosts}")


def test_an_entry_is_changed_at_run_time(patient: Patient) -> None:
    patient.publish("entry", patient.origin("b"))
    hosts = name_of(patient, "hosts")
    with healing(patient, "a map entry changed over the runtime socket", within=SOON + DRIFT):
        patient.stack.front.sockets.run(f"set map {hosts} entry.apps.example.com fs_none")
        assert patient.broken(["entry"]) != []


def test_a_server_is_put_into_maintenance_at_run_time(patient: Patient) -> None:
    patient.publish("drained", patient.origin("b"))
    backend = backend_of(patient, "drained")
    states = patient.stack.front.sockets.run(f"show servers state {backend}")
    server = states.splitlines()[2].split()[3]
    what = "a server put into maintenance over the runtime socket"
    with healing(patient, what, within=SOON + DRIFT):
        patient.stack.front.sockets.run(f"disable server {backend}/{server}")
        until("it is out of service", lambda: patient.broken(["drained"]))


# --- files ---


def test_a_map_file_is_edited_and_loaded(patient: Patient) -> None:
    hosts = patient.stack.front.maps_dir / "hosts.map"
    hosts.write_text("".join(hosts.read_text().splitlines(keepends=True)[:1]))
    with healing(patient, "a map file cut short by hand, and loaded", undisturbed=False):
        patient.stack.front.reload_haproxy()


def spoil_a_shard(patient: Patient) -> None:
    shard = shard_of(patient, patient.untouched[0])
    shard.write_text(f"{shard.read_text()}\nnonsense here\n")


def lose_a_shard(patient: Patient) -> None:
    shard_of(patient, patient.untouched[0]).unlink()


def lose_the_frontends(patient: Patient) -> None:
    (patient.stack.front.config_dir / "current" / "10-frontends.cfg").unlink()


def shard_of(patient: Patient, name: str) -> Path:
    """The file that has the backend which serves a route."""
    line = f"backend {backend_of(patient, name)} "
    shards = patient.stack.front.config_dir.glob("current/50-*.cfg")
    return next(shard for shard in shards if line in shard.read_text())


def publish_by_reload(patient: Patient, name: str) -> None:
    """A route that needs a reload, since no route has had its header before."""
    headers = {"request": {"set": {f"X-{name}-{len(patient.promises)}": "1"}}}
    answer = patient.publish(name, patient.origin("b"), headers=headers)
    assert answer["status"] == "active"


def told(edit: Callable[[Patient], None]) -> str:
    return f"by hand: {edit.__name__.replace('_', ' ')}"


EDITS = pytest.mark.parametrize("edit", [spoil_a_shard, lose_a_shard, lose_the_frontends])


@EDITS
def test_a_file_was_edited_when_a_route_needs_a_reload(
    patient: Patient, edit: Callable[[Patient], None]
) -> None:
    """It is written anew, and nobody notices."""
    edit(patient)
    with healing(patient, f"{told(edit)}, then a route that needs a reload"):
        publish_by_reload(patient, edit.__name__.replace("_", "-"))


@EDITS
def test_a_file_was_edited_when_haproxy_is_killed(
    patient: Patient, edit: Callable[[Patient], None]
) -> None:
    edit(patient)
    with healing(patient, f"{told(edit)}, then HAProxy is killed", undisturbed=False):
        patient.stack.front.kill_haproxy()


def test_a_spoiled_shard_is_refused_when_somebody_reloads(patient: Patient) -> None:
    """Until our own next reload, which writes it anew."""
    spoil_a_shard(patient)
    with healing(patient, f"{told(spoil_a_shard)}, then somebody reloads"):
        with pytest.raises(HarnessError, match="nonsense"):
            patient.stack.front.reload_haproxy()
        assert patient.publish("without-reload", patient.origin("a"))["status"] == "active"
        publish_by_reload(patient, "after-refusal")
        patient.stack.front.reload_haproxy()


@pytest.mark.parametrize("edit", [lose_a_shard, lose_the_frontends])
def test_a_file_was_lost_when_somebody_reloads(
    patient: Patient, edit: Callable[[Patient], None]
) -> None:
    """HAProxy loads what is left: routes are missing until that was noticed."""
    edit(patient)
    with healing(patient, f"{told(edit)}, then somebody reloads", undisturbed=False):
        patient.stack.front.reload_haproxy()


def test_the_runtime_socket_is_removed(patient: Patient) -> None:
    """Commands go through the master instead."""
    patient.stack.front.sockets.runtime.unlink()
    answer = patient.publish("without-socket", patient.origin("a"))
    assert answer["status"] in {"active", "pending"}
    with healing(patient, "the runtime socket's file removed"):
        patient.stack.front.reload_haproxy()


def test_the_configuration_cannot_be_written(patient: Patient) -> None:
    """Routes go live all the same, and that the files are behind is a warning."""
    with read_only(patient.stack.front.config_dir):
        assert patient.publish("read-only", patient.origin("a"))["status"] == "active"
        until("there is a warning", lambda: any("ead-only" in w for w in patient.warnings()))
        patient.said = "; ".join(patient.warnings())
        assert patient.reasons() == ""
    healed(patient, "the directory of the configuration read-only")
    until("no warning is left", lambda: patient.warnings() == [])
