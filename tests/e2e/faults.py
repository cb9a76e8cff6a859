"""What the rows of the fault tables share: `test_*_faults.py`, `test_wires.py`, `test_clock.py`.

Each row that healed is a line of `.reports/faults.md`: the fault, what visitors of other routes saw
meanwhile, what the front server said, and the seconds until all was well after the fault's end.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.patient import Patient
from harness.polling import until

# Everything is run, however long it takes.
LONG = bool(os.environ.get("HARNESS_LONG"))

_HEAD = """\
| backend | fault | others saw | it said | healed after s |
|---|---|---|---|---|
"""
REPORT = Path(__file__).parents[2] / ".reports" / "faults.md"

# Seconds from a fault's end until all is well.
SOON = 10.0

MIB = 1 << 20

RELOAD = "PUT .*force_reload"
# What follows a change at run time: the backends; and with a new check, the configuration.
POOLS = "PUT .*/storage/general/fs-pools"
WRITE = "POST .*/configuration/raw.*skip_reload"


def told(patient: Patient, name: str, words: str) -> None:
    """A new route is stored, waits, and says why, as does the front server itself."""
    answer = patient.publish(name, patient.origin("a"), wait=0)
    assert answer["status"] == "pending"
    patient.until_it_says(words)
    for waiting in (name, patient.untouched[0]):
        until(
            f"{waiting} says {words!r}",
            lambda name=waiting: (
                (route := patient.route(name))["status"] == "pending"
                and words in route.get("reason", "")
            ),
        )


def healed(patient: Patient, what: str, *, undisturbed: bool = True) -> None:
    """All is well within `SOON`, and visitors of other routes were served all the time."""
    seconds = patient.healed(SOON)
    print(f"\nhealed after {seconds:5.2f} s: {what}")  # noqa: T201 - the row's figure
    patient.until_written()
    if patient.stack.dataplane is not None and (differs := patient.disagreement()):
        raise AssertionError(differs)
    if undisturbed:
        patient.visitors.wait_for(10)
        assert patient.visitors.complaints == []
    complaints = patient.visitors.complaints
    seen = f"{len(complaints)} failed" if complaints else "nothing"
    said, patient.said = patient.said, ""
    record(patient.stack.backend, what, seen, said, seconds)


def record(backend: str, what: str, seen: str, said: str, seconds: float) -> None:
    """A line of the report."""
    said = said.replace("|", "/")[:160] or "-"
    REPORT.parent.mkdir(exist_ok=True)
    with REPORT.open("a") as report:
        if not report.tell():
            report.write(_HEAD)
        report.write(f"| {backend} | {what} | {seen} | {said} | {seconds:.2f} |\n")


@contextlib.contextmanager
def file_system(place: Path, size: int) -> Iterator[Path]:
    """A small one at a directory, or a skip where none may be mounted."""
    mount = shutil.which("mount") or "mount"
    command = [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr}")
    try:
        yield place
    finally:
        subprocess.run([shutil.which("umount") or "umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Leave no room on the file system of `place`; the file that takes it."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    return filler
