"""Rows of the fault table: a Data Plane without room on its disk, and files edited by hand."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.patient import Patient
from harness.polling import until
from harness.stack import Stack
from tests.e2e.faults import LONG, MIB, file_system, fill, healed, healing, read_only

pytestmark = pytest.mark.dataplane_backend


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 4 MiB."""
    place = Path(tempfile.mkdtemp(prefix="fs-disk-"))
    try:
        with file_system(place, 4 * MIB):
            yield place
    finally:
        place.rmdir()


def reloads_wait(patient: Patient, name: str, said: str) -> None:
    """A plain route goes live; one that needs a reload waits, and `said` is told of it."""
    assert patient.publish(name, patient.origin("a"))["status"] == "active"
    until("there is a warning", lambda: any(said in w for w in patient.warnings()))
    assert patient.reasons() == ""
    headers = {"request": {"set": {f"X-{name}": "1"}}}
    patient.publish(f"{name}-reload", patient.origin("b"), wait=0, headers=headers)
    patient.until_it_says(said)
    until(
        "the route says it too",
        lambda: said in patient.route(f"{name}-reload").get("reason", ""),
    )
    assert patient.broken([*patient.untouched, name]) == []


def test_the_disk_is_full(small_disk: Path, make_stack: Callable[..., Stack]) -> None:
    """Routes go live without it; what needs a reload waits, and says why."""
    stack = make_stack(backend="dataplane", dataplane={"directory": small_disk / "dp"})
    with Patient(stack) as patient:
        patient.until_written()
        filler = fill(small_disk)
        reloads_wait(patient, "full", "space left")
        with healing(patient, "disk full"):
            filler.unlink()
        until("no warning is left", lambda: patient.warnings() == [])
        if LONG:
            with patient.dataplane.client() as client:
                until(
                    "no transaction is left over",
                    lambda: client.get("/services/haproxy/transactions").json() == [],
                    seconds=30,
                )
        # What was live while there was no room is there by the files alone.
        stack.front.kill()
        stack.front.kill_haproxy()
        patient.dataplane.haproxy.start()
        until("all routes are served", lambda: patient.broken() == [])


def test_the_directories_are_read_only(patient: Patient) -> None:
    """The configuration's, that of transactions, of maps, of stored files: as with a full disk."""
    patient.until_written()
    with read_only(patient.dataplane.directory):
        reloads_wait(patient, "read-only", "ead-only")
    healed(patient, "the Data Plane's directories read-only")
    until("no warning is left", lambda: patient.warnings() == [])


def append(text: str) -> str:
    return f"{text}\nbackend somebody_s from fs_http\n    server s 127.0.0.1:1\n"


def spoil(text: str) -> str:
    return f"{text}\nbackend somebody_s from fs_http\n    nonsense here\n"


def empty(text: str) -> str:
    del text
    return ""


def behead(text: str) -> str:
    """Without the lines that the API knows its file by."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))


EDITS = [append, spoil, empty, behead]


@pytest.mark.parametrize("running", [True, False] if LONG else [True])
@pytest.mark.parametrize("edit", EDITS if LONG else [append, spoil])
def test_the_file_is_edited_by_hand(
    patient: Patient, edit: Callable[[str], str], running: bool
) -> None:
    """It is written anew, whether the Data Plane ran meanwhile or not; nobody is disturbed."""
    name = f"edit-{edit.__name__}-{'up' if running else 'down'}"
    patient.publish(name, patient.origin("a"))
    patient.until_written()
    dataplane = patient.dataplane
    config = dataplane.files.config
    before = config.read_text()
    if not running:
        dataplane.kill()

    def is_ours() -> bool:
        text = config.read_text()
        return "somebody_s" not in text and "# _version=" in text and "frontend fs_in" in text

    with healing(patient, f"file edited by hand: {edit.__name__}, {running=}"):
        config.write_text(edit(before))
        if not running:
            dataplane.start()
        until("the file is ours again", is_ours, detail=patient.stack.front.tail)
    with healing(patient, f"a change after {edit.__name__}"):
        assert patient.publish(f"{name}-later", patient.origin("b"))["status"] == "active"
