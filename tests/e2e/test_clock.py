"""A clock that jumps, ahead and back: nobody who is served notices.

Rows as in `test_file_faults.py`. The front server's clock is wrong, and that of a HAProxy that it
runs itself; agents' clocks are right.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest

from harness.choice import chosen_place
from harness.clocks import Clock
from harness.errors import UnavailableError
from harness.patient import Patient
from harness.polling import until
from harness.stack import Stack
from tests.e2e.faults import healing

pytestmark = pytest.mark.long

JUMPS = [timedelta(days=2), timedelta(days=-2), timedelta(hours=1), timedelta(hours=-1)]


class Timed:
    """A patient, and the clock that it lives by."""

    def __init__(self, patient: Patient, clock: Clock) -> None:
        self.patient = patient
        self.clock = clock

    def is_wrong_by(self, wanted: timedelta) -> None:
        """Wait until the front server's clock is so much ahead of ours."""

        def has_jumped() -> bool:
            answer = self.patient.stack.client.get(f"{self.patient.stack.front.api_url}/health")
            says = parsedate_to_datetime(answer.headers["date"])
            return abs(says - datetime.now(UTC) - wanted) < timedelta(minutes=5)

        until(f"the clock is wrong by {wanted}", has_jumped)

    def jump(self, by: timedelta) -> None:
        self.clock.jump(by)
        self.is_wrong_by(by)

    def set_right(self) -> None:
        self.clock.set_right()
        self.is_wrong_by(timedelta())


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Timed]:
    if chosen_place() != "native":
        pytest.skip("libfaketime isn't in the containers' images; natively the same rows run")
    try:
        clock = Clock(tmp_path_factory.mktemp("clock"))
    except UnavailableError as error:
        pytest.skip(str(error))
    with Stack(environ=clock.environ) as stack:
        yield Timed(Patient(stack), clock)


@pytest.fixture
def timed(ward: Timed) -> Iterator[Timed]:
    """`ward`, its clock right, and visited."""
    ward.set_right()
    ward.patient.healed(30)
    with ward.patient:
        yield ward


@pytest.mark.parametrize("by", JUMPS, ids=str)
def test_the_clock_jumps_and_is_set_right(timed: Timed, by: timedelta) -> None:
    """Tokens of before, of meanwhile and of afterwards: the agent's program copes with each."""
    patient = timed.patient
    origin = patient.origin("a")
    label = f"clock-{by.total_seconds():.0f}".replace("--", "-back-")
    program = patient.agent.program
    program.register()

    def publish(moment: str) -> None:
        assert patient.publish(f"{label}-{moment}", origin)["status"] == "active"
        assert program.http(f"{label}-{moment}-program", origin.url)["status"] == "active"
        patient.promises[f"{label}-{moment}-program"] = origin.name
        assert patient.broken() == []

    publish("before")
    timed.jump(by)
    publish("meanwhile")
    with healing(patient, f"the clock wrong by {by}, and right again"):
        timed.set_right()
        publish("after")


@pytest.mark.parametrize("by", JUMPS[:2], ids=str)
def test_it_is_restarted_while_the_clock_is_wrong(timed: Timed, by: timedelta) -> None:
    """What was stored at another time is what is served."""
    patient = timed.patient
    name = f"restarted-{by.days}".replace("--", "-back-")
    patient.publish(name, patient.origin("a"))
    timed.jump(by)
    patient.stack.front.kill()
    patient.stack.front.start(ready=False)
    patient.publish(name, patient.origin("b"))
    what = f"restarted with a clock wrong by {by}, and again once it was right"
    with healing(patient, what):
        timed.set_right()
        patient.stack.front.kill()
        patient.stack.front.start(ready=False)


@pytest.mark.file_backend("the HAProxy that it reloads has the same clock")
def test_haproxy_is_reloaded_while_the_clock_is_wrong(timed: Timed) -> None:
    patient = timed.patient
    timed.jump(timedelta(days=1))
    headers = {"request": {"set": {"X-Clock": "1"}}}
    answer = patient.publish("reload-clock", patient.origin("b"), headers=headers)
    assert answer["status"] == "active"
    with healing(patient, "HAProxy reloaded with a clock a day ahead, then right"):
        timed.set_right()
