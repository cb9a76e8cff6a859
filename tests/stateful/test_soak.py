"""The same with other sequences until the time is over: `nox -s soak`.

HARNESS_SOAK_SECONDS says for how long, HARNESS_SEED repeats a run from its first sequence on.
"""

from __future__ import annotations

import os
import secrets
import time

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.stateful.machine import FrontServer
from tests.stateful.sites import Sites

SECONDS = float(os.environ.get("HARNESS_SOAK_SECONDS") or 1800)
SEED = int(os.environ.get("HARNESS_SEED") or secrets.randbits(32))
STEPS = 30
# Of one seed; the next ones follow it.
EXAMPLES = 5


def test_soak(sites: Sites) -> None:
    """A failure is shown as short as it could be made, with the seed to begin with."""
    end, number = time.monotonic() + SECONDS, SEED
    while number == SEED or time.monotonic() < end:
        print(f"\nHARNESS_SEED={number}", flush=True)  # noqa: T201 - by which it is repeated

        @seed(number)
        def machine(number: int = number) -> FrontServer:
            front = FrontServer(sites)
            front.site.stack.note("seed.txt", f"HARNESS_SEED={number}\n")
            return front

        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                database=None,
                deadline=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            ),
        )
        number += 1
