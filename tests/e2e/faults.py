"""What the rows of the Data Plane's fault table share: see `test_dataplane_faults.py`."""

from __future__ import annotations

import os

from harness.patient import Patient
from harness.polling import until

# Everything is run, however long it takes.
LONG = bool(os.environ.get("HARNESS_LONG"))

# Seconds from a fault's end until all is well.
SOON = 10.0

RELOAD = "PUT .*force_reload"
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
    print(f"\nhealed after {patient.healed(SOON):5.2f} s: {what}")  # noqa: T201 - the row's figure
    patient.until_written()
    if differs := patient.disagreement():
        raise AssertionError(differs)
    if undisturbed:
        patient.visitors.wait_for(10)
        assert patient.visitors.complaints == []
