"""HAProxy does what a model says, in the same few random sequences each time."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.stateful.machine import FrontServer
from tests.stateful.sites import Sites

EXAMPLES, STEPS = 3, 12


def test_haproxy_does_what_the_model_says(sites: Sites) -> None:
    """`test_soak.py` runs others, for as long as one likes."""
    run_state_machine_as_test(
        lambda: FrontServer(sites),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            derandomize=True,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
