"""Whoever reads a failure finds what the stack knew, however the stack was made."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.evidence import Shelf, kept_on
from harness.polling import until
from harness.stack import Stack

_ROOT = Path(__file__).parents[2]
_TESTS = """
import pytest
from harness import Stack

def test_inside() -> None:
    with Stack() as stack:
        raise AssertionError("in the block")

def test_start() -> None:
    with Stack(environ={"FRONTSERVER_LOG_LEVEL": "nonsense"}):
        pass

def test_fixture(frontserver_stack: Stack) -> None:
    print("what was printed")
    raise AssertionError("in the test")

def test_skipped() -> None:
    with Stack(start=False):
        pytest.skip("nothing has failed")

def test_passes() -> None:
    with Stack(start=False):
        pass
"""
_SCRIPT = """
from harness import Stack

with Stack(start=False) as stack:
    stack.note("seed.txt", "17")
    raise SystemError("of a script")
"""


def run(place: Path, *arguments: str | Path) -> str:
    """The output of a Python that fails, as anybody would run it in a directory of their own."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 1, done.stdout
    return done.stdout


def told(output: str, test: str) -> Path:
    """The only folder that is named for a test."""
    # Where CI is set, pytest's summary has each message once more.
    place = rf"logs and configuration: (\S+/\.evidence/test_mine\.py-{test}/\S+)"
    (named,) = set(re.findall(place, output))
    return Path(named)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("mine")
    (place / "test_mine.py").write_text(_TESTS)
    (place / "pytest.ini").write_text("[pytest]\n")
    plugins = ("-p", "harness.plugin", "-p", "no:cacheprovider")
    return run(place, "-m", "pytest", "-q", *plugins, place / "test_mine.py")


@pytest.mark.parametrize("test", ["test_inside", "test_fixture"])
def test_a_failing_test_names_the_evidence_of_its_stack(output: str, test: str) -> None:
    place = told(output, test)
    assert "frontserver" in (place / "logs" / "frontserver.log").read_text()
    assert list((place / "haproxy").rglob("*hosts.map"))
    assert "Uptime" in (place / "haproxy" / "show-info.txt").read_text()
    assert not (place / "errors.txt").exists()


def test_a_stack_that_does_not_start_leaves_its_log(output: str) -> None:
    place = told(output, "test_start")
    assert "FRONTSERVER_LOG_LEVEL" in (place / "logs" / "frontserver.log").read_text()


def test_the_report_lies_beside_it(output: str) -> None:
    report = (told(output, "test_fixture").parent / "failure.txt").read_text()
    assert "AssertionError: in the test" in report
    assert "what was printed" in report


def test_what_has_not_failed_leaves_nothing(output: str) -> None:
    """Neither a test that passes, nor one that is skipped within the block."""
    assert "3 failed, 1 passed, 1 skipped" in output
    kept = {place.name for place in told(output, "test_start").parents[1].iterdir()}
    assert kept == {f"test_mine.py-test_{name}" for name in ("inside", "start", "fixture")}


def test_without_the_plugin_it_is_kept_too(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(_SCRIPT)
    output = run(tmp_path, "script.py")
    (place,) = (tmp_path / ".evidence").iterdir()
    assert f"SystemError: of a script\nlogs and configuration: {place}\n" in output
    assert (place / "notes" / "seed.txt").read_text() == "17"


def test_where_none_can_be_kept_the_error_is_still_seen(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        kept_on(Shelf(tmp_path / "file")),
        pytest.raises(LookupError, match="why it failed") as seen,
        Stack(start=False),
    ):
        raise LookupError("why it failed")
    assert "no evidence can be kept: [Errno" in seen.value.__notes__[0]


def test_it_has_what_is_configured_and_what_runs_but_no_secret(
    stack: Stack, tmp_path: Path
) -> None:
    agent = stack.registered("evident")
    assert agent.api.http("evident", stack.origin("evident").url).json()["status"] == "active"
    agent.program.fetch_certificates()
    stack.note("seed.txt", "17")
    place = tmp_path / "evidence"

    def is_whole() -> bool:
        """The file is written a moment after the route is active."""
        stack.evidence(place)
        (hosts,) = (place / "haproxy").rglob("*hosts.map")
        return "evident" in hosts.read_text()

    until("the map's file has the route", is_whole)
    haproxy = place / "haproxy"
    assert any("frontend fs_in_http" in file.read_text() for file in haproxy.glob("*.cfg"))
    assert "evident" in (haproxy / "show-map.txt").read_text()
    assert "worker" in (haproxy / "show-proc.txt").read_text()
    assert (place / "notes" / "seed.txt").read_text() == "17"
    assert not (place / "errors.txt").exists()
    texts = [file.read_bytes() for file in place.rglob("*") if file.is_file()]
    assert not any(b"PRIVATE KEY" in text for text in texts)
    if stack.dataplane is not None:
        for name in ("op.cfg", "cp.cfg", "general/fs-pools.cfg", "dataplaneapi.yml"):
            assert (haproxy / name).read_text() != ""
        assert not any(stack.dataplane.password.encode() in text for text in texts)


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory that isn't the stack's; its path is short."""
    place = Path(tempfile.mkdtemp(prefix="fs-"))
    yield place
    shutil.rmtree(place)


@pytest.mark.dataplane_backend
def test_it_has_a_data_plane_that_is_elsewhere(elsewhere: Path, tmp_path: Path) -> None:
    given = {"directory": elsewhere / "mine"}
    with Stack(backend="dataplane", dataplane=given, start=False) as stack:
        stack.evidence(tmp_path / "evidence")
    logs = tmp_path / "evidence" / "logs" / "mine"
    assert {log.name for log in logs.iterdir()} == {"dataplane.log", "haproxy.log"}
    assert "operator" in (tmp_path / "evidence" / "haproxy" / "op.cfg").read_text()
