"""The clock around the product's steps still finds them, each in its place."""

from __future__ import annotations

import subprocess
import sys

from tests.unit.docs.pages import ROOT


def test_every_step_is_found_in_the_source() -> None:
    # In a process of its own: wrapping can't be undone.
    code = "from bench.traced import wrap_all; print(wrap_all())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"
