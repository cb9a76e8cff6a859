"""Kills at random moments, while routes change: nothing acknowledged is lost, all heals soon."""

from __future__ import annotations

import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from harness.errors import HarnessError
from harness.patient import Patient
from harness.polling import until
from harness.stack import Stack
from tests.e2e.faults import LONG, SOON

pytestmark = pytest.mark.dataplane_backend

KILLS = 50 if LONG else 5
SEED = int(os.environ.get("HARNESS_SEED") or secrets.randbits(32))
NAMES = 40


class Changes:
    """Asks for routes, changes and removals in a thread until the end of the `with` block."""

    def __init__(self, patient: Patient, seed: int) -> None:
        self.acknowledged = 0
        self.errors: list[BaseException] = []
        self._patient = patient
        self._random = random.Random(seed)  # noqa: S311 - moments
        self._stop = threading.Event()

    @contextmanager
    def going_on(self) -> Iterator[None]:
        self._stop.clear()
        thread = threading.Thread(target=self._run, name="changes")
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(60)
        assert not thread.is_alive()
        assert self.errors == []

    def wait_for(self, more: int) -> None:
        goal = self.acknowledged + more
        until(f"{more} more changes", lambda: self.acknowledged >= goal or self.errors, seconds=60)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._once()
        except (HarnessError, AssertionError) as error:
            self.errors.append(error)

    def _once(self) -> None:
        chance = self._random
        name = f"kills-{chance.randrange(NAMES)}"
        origin = self._patient.origin(chance.choice("ab"))
        options: dict[str, object] = {}
        match chance.randrange(12):
            case 0 | 1 | 2:
                removed = self._patient.promises.get(name) is not None
                done = removed and self._patient.attempt(name, None)
                self.acknowledged += done
                return
            case 3 | 4:
                options = {"check": True}
            case 5:
                # A reload.
                options = {"headers": {"request": {"set": {f"X-K{chance.randrange(8)}": "1"}}}}
            case 6:
                options = {"timeouts": {"server": chance.randrange(5, 60)}}
            case _:
                pass
        self.acknowledged += self._patient.attempt(name, origin, **options)


def kill(patient: Patient, victim: str) -> None:
    """SIGKILL, and what systemd does then by the shipped units."""
    stack = patient.stack
    if victim == "front server":
        stack.front.kill()
        stack.front.start(ready=False)
    elif victim == "Data Plane":
        patient.dataplane.restart()
    else:
        stack.front.kill_haproxy()
        patient.dataplane.revive()


def test_random_kills(make_stack: Callable[..., Stack]) -> None:
    print(f"\nHARNESS_SEED={SEED}")  # noqa: T201 - by which it is repeated
    chance = random.Random(SEED)  # noqa: S311 - moments
    stack = make_stack(backend="dataplane")
    stack.note("seed.txt", f"HARNESS_SEED={SEED}\n")
    patient = Patient(stack)
    changes = Changes(patient, SEED)
    took: list[float] = []
    with patient:
        for number in range(KILLS):
            victim = chance.choice(["front server", "Data Plane", "HAProxy"])
            complaints = len(patient.visitors.complaints)
            with changes.going_on():
                changes.wait_for(chance.randrange(1, 12))
                began = time.monotonic()
                kill(patient, victim)
            took.append(patient.healed(SOON, since=began))
            print(f"{number}: {victim} killed, healed after {took[-1]:.2f} s")  # noqa: T201
            if victim == "HAProxy":
                patient.visitors.settle()
                complaints = len(patient.visitors.complaints)
            patient.visitors.wait_for(20)
            assert patient.visitors.complaints[complaints:] == [], (number, victim)
        patient.until_written()
        assert patient.disagreement() == ""
        refused = {n: r["reason"] for n, r in patient.agent.api.routes().items() if "reason" in r}
        assert refused == {}
        # The files alone bring back the same.
        patient.stack.front.kill()
        patient.stack.front.kill_haproxy()
        patient.dataplane.haproxy.start()
        until("all is served", lambda: patient.broken() == [])
    print(f"{changes.acknowledged} changes acknowledged, longest {max(took):.2f} s")  # noqa: T201
