"""What is told of pytest's JUnit files: no skip without its reason, no failure without its name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness import reports

ROOT = Path(__file__).parents[3]
PASSED = '<testcase classname="c" name="p"/>'


def case(tag: str, message: str, name: str = "x") -> str:
    return f'<testcase classname="c" name="{name}"><{tag} message="{message}"/></testcase>'


def write(file: Path, *cases: str) -> Path:
    file.write_text(f'<testsuites><testsuite time="1.5">{"".join(cases)}</testsuite></testsuites>')
    return file


def summary(directory: Path) -> tuple[int, list[str]]:
    """How it ends, and its lines, without the padding of the first and the last one."""
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "summary.py", directory],
        capture_output=True,
        text=True,
        check=False,
        # Nothing is found there by accident.
        cwd=directory,
    )
    return done.returncode, [line.strip("= ") for line in done.stdout.splitlines()]


def test_every_test_is_counted_by_what_it_came_to(tmp_path: Path) -> None:
    file = write(
        tmp_path / "x.xml",
        PASSED * 3,
        case("skipped", "no mongod"),
        case("failure", "assert 1 == 2&#10;and more", "f"),
        case("error", "", "e"),
    )
    report = reports.read(file)
    assert (report.passed, report.skipped, report.failed, report.errors) == (3, 1, 1, 1)
    assert report.complaints == ("FAILED c::f - assert 1 == 2", "ERROR c::e - no reason given")
    assert report.seconds == 1.5
    assert not report.is_good


def test_what_was_all_skipped_is_not_good(tmp_path: Path) -> None:
    assert not reports.read(write(tmp_path / "x.xml", case("skipped", "no mongod"))).is_good
    assert reports.read(write(tmp_path / "x.xml", PASSED, case("skipped", "no mongod"))).is_good


def test_reasons_come_from_all_reports_in_the_order_of_their_number(tmp_path: Path) -> None:
    one = write(tmp_path / "1.xml", case("skipped", "b") * 2, case("skipped", "c") * 3)
    other = write(tmp_path / "2.xml", case("skipped", "a") * 3, case("skipped", "b") * 2)
    told = reports.skips([reports.read(one), reports.read(other)])
    assert list(told) == [(4, "b"), (3, "a"), (3, "c")]


def test_a_long_reason_is_cut_and_says_so(tmp_path: Path) -> None:
    file = write(tmp_path / "x.xml", case("skipped", "x" * 200 + "&#10;second line"))
    assert reports.read(file).reasons == {"x" * 159 + "…": 1}


def test_the_summary_tells_skips_failures_and_totals(tmp_path: Path) -> None:
    write(tmp_path / "a.xml", PASSED * 2, case("skipped", "no mongod") * 2)
    write(tmp_path / "b.xml", PASSED, case("skipped", "too long"), case("failure", "no", "f"))
    assert summary(tmp_path) == (
        1,
        [
            "short test summary info",
            "SKIPPED [2] no mongod",
            "SKIPPED [1] too long",
            "FAILED c::f - no",
            "1 failed, 3 passed, 3 skipped in 3.00s",
        ],
    )


def test_a_session_of_which_nothing_passed_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "a.xml", PASSED)
    assert summary(tmp_path) == (0, ["short test summary info", "1 passed in 1.50s"])
    write(tmp_path / "b.xml", case("skipped", "no mongod"))
    code, lines = summary(tmp_path)
    assert code == 1
    assert "ERROR b.xml - nothing passed, 1 skipped" in lines


@pytest.mark.parametrize("directory", ["empty", "missing"])
def test_a_summary_of_nothing_is_an_error(tmp_path: Path, directory: str) -> None:
    (tmp_path / "empty").mkdir()
    place = tmp_path / directory
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "summary.py", place],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no tests ran in 0.00s" in done.stdout
