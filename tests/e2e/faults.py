"""What the rows of the fault tables share: `test_*faults.py`, `test_wires.py`, `test_clock.py`.

Each row that healed is a line of the report (`tests/e2e/report.py`): the fault, what visitors of
other routes saw meanwhile, what the front server said, and the seconds until all was well. They
count from the moment at which something began to end the fault, restarts included.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from harness.choice import chosen_place
from harness.patient import Patient
from harness.polling import until
from harness.stack import Stack
from tests.e2e.report import REPORT, Row

# Everything is run, however long it takes.
LONG = bool(os.environ.get("HARNESS_LONG"))

# Seconds from a fault's end until all is well.
SOON = 10.0
# And as many more where somebody changed what HAProxy runs: each route is looked at every so often.
DRIFT = 10.0

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


@contextlib.contextmanager
def healing(
    patient: Patient, what: str, *, undisturbed: bool = True, within: float = SOON
) -> Iterator[None]:
    """The block ends a fault, or is one that is over at once; all is well soon after it began."""
    began = time.monotonic()
    yield
    healed(patient, what, undisturbed=undisturbed, within=within, since=began)


def healed(
    patient: Patient,
    what: str,
    *,
    undisturbed: bool = True,
    within: float = SOON,
    since: float | None = None,
) -> None:
    """All is well soon after the fault's end, which began to come at `since`, else just now.

    The files follow, which counts too. Visitors of other routes were served all the time; if not
    `undisturbed` they may have failed, but do so no longer.
    """
    began = time.monotonic() if since is None else since
    patient.healed(within, since=began)
    patient.until_written(SOON)
    seconds = time.monotonic() - began
    visitors = patient.visitors
    if not undisturbed:
        visitors.settle()
    seen = list(visitors.complaints)
    print(f"\nhealed after {seconds:5.2f} s: {what}")  # noqa: T201 - the row's figure
    if patient.stack.dataplane is not None and (differs := patient.disagreement()):
        raise AssertionError(differs)
    visitors.wait_for(10 if undisturbed else 20)
    assert visitors.complaints == ([] if undisturbed else seen)
    said, patient.said = patient.said, ""
    record(patient.stack, what, summary(seen), said, seconds)


def summary(complaints: Sequence[str]) -> str:
    """How many failed, and of what."""
    if not complaints:
        return "nothing"
    kinds = Counter(complaint.partition(": ")[2].split(" ")[0] for complaint in complaints)
    return f"{len(complaints)} failed: {', '.join(f'{kind} {n}' for kind, n in kinds.items())}"


def record(
    stack: Stack, what: str, seen: str, said: str, seconds: float, *, mongodb: str = ""
) -> None:
    """A line of the report; `mongodb` is of which kind, where the row is about one."""
    backend = stack.backend
    if stack.dataplane is not None:
        backend += " (real)" if stack.dataplane.program else " (double)"
    version = stack.front.sockets.version()
    REPORT.add(Row(version, backend, mongodb, chosen_place(), what, seen, said, seconds))


@contextlib.contextmanager
def file_system(place: Path, size: int) -> Iterator[Path]:
    """A small one at a directory, or a skip where none may be mounted."""
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", place)
    try:
        yield place
    finally:
        _unmount(place)


@contextlib.contextmanager
def read_only(*places: Path) -> Iterator[None]:
    """Directories in which nothing can be opened to write, or a skip where none may be mounted."""
    if chosen_place() != "native":
        pytest.skip("containers that run don't see what is mounted; natively the same rows run")
    with contextlib.ExitStack() as bound:
        for place in places:
            _mount("--bind", place, place)
            bound.callback(_unmount, place)
            _mount("-o", "remount,bind,ro", place)
        yield


def _mount(*arguments: str | Path) -> None:
    command = [shutil.which("mount") or "mount", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    why = f"nothing can be mounted here: {done.stderr.strip()}"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(f"{why}; `unshare -Urm` before the command lets anybody")


def _unmount(place: Path) -> None:
    subprocess.run([shutil.which("umount") or "umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Leave no room on the file system of `place`; the file that takes it."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    return filler
