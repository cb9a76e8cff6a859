"""Whatever breaks about the Data Plane API: what is said of it, and how soon all is well again.

One row a test: a fault, what `/health/ready` and a route say meanwhile, and that within ten
seconds after its end all that was acknowledged is served, while visitors of other routes noticed
nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness.interference import Interference, Trouble
from harness.patient import Patient
from harness.polling import until
from tests.e2e.faults import LONG, POOLS, RELOAD, WRITE, healing, told

pytestmark = pytest.mark.dataplane_backend


@contextmanager
def killed_during(
    patient: Patient, between: Interference, request: str, after: int
) -> Iterator[None]:
    """The Data Plane is killed `after` ms into its work on such a request."""

    def kill() -> None:
        threading.Event().wait(after / 1000)
        patient.dataplane.kill()

    between.make(Trouble(request, meanwhile=kill, times=1))
    yield
    until("it was killed", lambda: not patient.dataplane.runs)


def test_dataplane_is_down_at_start(patient: Patient) -> None:
    front = patient.stack.front
    front.stop(haproxy=False)
    patient.dataplane.kill()
    front.start(ready=False)
    told(patient, "down-at-start", "the Data Plane API at")
    with healing(patient, "down at start"):
        patient.dataplane.start()


def test_dataplane_is_killed_and_restarted(patient: Patient) -> None:
    patient.publish("before-kill", patient.origin("a"))
    patient.dataplane.kill()
    told(patient, "down", "the Data Plane API at")
    with healing(patient, "killed"):
        patient.dataplane.start()


@pytest.mark.parametrize("request_", [POOLS, WRITE])
@pytest.mark.parametrize("after", [0, 10, 50] if LONG else [10])
def test_dataplane_is_killed_while_it_writes(
    patient: Patient, between: Interference, after: int, request_: str
) -> None:
    name = f"write-{after}-{'check' if request_ == WRITE else 'plain'}"
    with killed_during(patient, between, request_, after):
        for number in range(5):
            origin = patient.origin("b")
            patient.publish(f"{name}-{number}", origin, wait=1, check=request_ == WRITE)
    told(patient, name, "the Data Plane API at")
    with healing(patient, f"killed {after} ms after {request_} began"):
        patient.dataplane.start()


@pytest.mark.parametrize("after", [0, 20, 100] if LONG else [20])
def test_dataplane_is_killed_during_a_reload(
    patient: Patient, between: Interference, after: int
) -> None:
    unseen = {"request": {"set": {f"X-Killed-{after}": "1"}}}
    with killed_during(patient, between, RELOAD, after):
        patient.publish(f"reload-{after}", patient.origin("a"), wait=0, headers=unseen)
    told(patient, f"reload-{after}-plain", "the Data Plane API at")
    with healing(patient, f"killed {after} ms after a reload began"):
        patient.dataplane.start()


@pytest.mark.parametrize(
    "request_",
    ["POST .*/servers", "PUT .*/servers", "POST .*/entries"] if LONG else ["PUT .*/servers"],
)
def test_dataplane_is_killed_while_a_route_goes_live(
    patient: Patient, between: Interference, request_: str
) -> None:
    name = f"live-{request_[:3].lower()}-{request_[-3:]}"
    with killed_during(patient, between, request_, 0):
        patient.publish(name, patient.origin("a"), wait=0)
    told(patient, f"{name}-later", "the Data Plane API at")
    with healing(patient, f"killed at {request_}"):
        patient.dataplane.start()


@pytest.mark.parametrize("by", ["units", "itself"])
def test_haproxy_is_down(patient: Patient, by: str) -> None:
    """With the Data Plane started anew after it, as by the shipped units, and without."""
    patient.publish(f"before-death-{by}", patient.origin("b"))
    patient.stack.front.kill_haproxy()
    told(patient, f"haproxy-down-{by}", "the Data Plane API doesn't reach HAProxy")
    with healing(patient, f"HAProxy down, revived by {by}", undisturbed=False):
        if by == "units":
            patient.dataplane.revive(wait=False)
        else:
            patient.stack.front.revive_haproxy()


def test_everything_is_killed_at_once(patient: Patient) -> None:
    patient.publish("last", patient.origin("b"))
    patient.stack.front.kill()
    patient.dataplane.kill()
    patient.stack.front.kill_haproxy()
    with healing(patient, "everything killed", undisturbed=False):
        patient.dataplane.revive(wait=False)
        patient.stack.front.start(ready=False)
