"""The harness as anybody else's pytest has it: from the installation, far from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

EXAMPLE = Path(__file__).parents[2] / "examples" / "test_my_app.py"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A copy of the example, in a directory of its own."""
    return Path(shutil.copy(EXAMPLE, tmp_path))


def run(test: Path) -> tuple[int, str]:
    """How pytest ends there, and what it prints; the checkout isn't on its path by our doing."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "harness.plugin", test.name],
        cwd=test.parent,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_example_passes_elsewhere(example: Path) -> None:
    code, said = run(example)
    assert code == 0, said
    assert "1 passed" in said


def test_an_example_that_fails_says_so_and_ends(example: Path) -> None:
    text = example.read_text()
    example.write_text(text.replace("Directory listing", "Other words"))
    code, said = run(example)
    assert code == 1, said
    assert "assert 'Other words' in" in said
