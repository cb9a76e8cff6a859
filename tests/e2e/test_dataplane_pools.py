"""The third file, which has the backends of all routes: it is used where HAProxy reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.dataplane import DataPlane
from harness.patient import Patient
from harness.polling import until
from harness.stack import Stack

pytestmark = pytest.mark.dataplane_backend

MakeStack = Callable[..., Stack]


def begun(make_stack: MakeStack, **dataplane: object) -> tuple[Patient, DataPlane]:
    """A patient with a route that was published last and is on disk."""
    patient = Patient(make_stack(backend="dataplane", dataplane=dataplane))
    patient.publish("pools-route", patient.origin("b"))
    patient.until_written()
    return patient, patient.dataplane


def pools_in(file: Path) -> int:
    """How many backends of routes a file has."""
    return file.read_text().count("\nbackend p")


def cold_start(patient: Patient) -> None:
    """Kill everything, start HAProxy alone: each route must be served."""
    patient.stack.front.kill()
    patient.dataplane.kill()
    patient.dataplane.haproxy.restart()
    for name, origin in patient.promises.items():
        assert patient.stack.get(name).json()["origin"] == origin


def test_routes_are_in_a_file_of_their_own(make_stack: MakeStack) -> None:
    patient, dataplane = begun(make_stack)
    pools = dataplane.files.pools_config
    assert pools is not None
    until("the backends have moved", lambda: not pools_in(dataplane.files.config))
    assert pools_in(pools)
    before = dataplane.files.config.read_text()

    patient.publish("pools-later", patient.origin("a"))
    patient.until_written()

    assert dataplane.files.config.read_text() == before, "a route is none of its business"
    cold_start(patient)


def test_a_file_edited_by_hand_is_written_anew(make_stack: MakeStack) -> None:
    patient, dataplane = begun(make_stack)
    pools = dataplane.files.pools_config
    assert pools is not None
    until("the backends have moved", lambda: not pools_in(dataplane.files.config))
    with patient:
        pools.write_text("spoiled\n")
        until("it is ours again", lambda: pools_in(pools) and "spoiled" not in pools.read_text())
        patient.healed(10)
    cold_start(patient)


def test_without_it_everything_is_in_one_file(make_stack: MakeStack) -> None:
    patient, dataplane = begun(make_stack, pools=False)
    assert pools_in(dataplane.files.config)
    cold_start(patient)


def test_a_haproxy_that_does_not_read_it_gets_everything_in_one_file(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(backend="dataplane", dataplane={"pools": False}, start=False)
    assert stack.dataplane is not None
    stored = stack.dataplane.files.general / "fs-pools.cfg"
    stored.touch()
    stack.front.start()
    patient = Patient(stack)
    patient.publish("pools-unread", patient.origin("b"))
    patient.until_written()
    assert pools_in(stack.dataplane.files.config)
    assert not pools_in(stored)
    assert "HAProxy doesn't read it" in stack.front.log.read_text()
    cold_start(patient)
