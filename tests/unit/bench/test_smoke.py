"""One series for two seconds, on the real product: the bench itself still works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench import haproxies
from bench.results import load
from tests.unit.docs.pages import ROOT


@pytest.mark.slow
def test_a_short_run_measures_routes_that_go_live(tmp_path: Path) -> None:
    if not haproxies.programs():
        pytest.skip("no HAProxy here: pip install 'frontserver[embedded]'")
    out = tmp_path / "bench.json"
    options = ("--sizes=0", "--peers=ours", "--seconds=2", "--rounds=1", "--new-profiles=1")
    command = [sys.executable, "-m", "bench", "live", *options, f"--out={out}"]

    subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)

    mix, new = load(out).live
    assert mix.live_ms
    assert len(mix.answer_ms) == len(mix.live_ms)
    assert (mix.lost, new.lost) == (0, 0)
    # A profile that nobody has used before needs a reload, and the sample is known for it.
    assert (len(new.reload_ms), new.inside) == (1, [0])
