"""The table of fault rows: one for each run, with all that tells its cells apart."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.report import Report, Row

ROW = Row("2.8.25", "file", "", "native", "killed", "nothing", "down | out\nsince", 1.234)


def test_a_run_has_a_table_of_its_own_beside_its_junit_file(tmp_path: Path) -> None:
    place = tmp_path / "faults-matrix-3.4.md"
    place.write_text("of another run")
    report = Report()
    report.begin(tmp_path / "matrix-3.4.xml")
    assert not place.exists()

    report.add(ROW)
    report.add(ROW)

    (_, _, first, second, _, summary) = place.read_text().splitlines()
    assert first == second
    assert first == ("| 2.8.25 | file | - | native | killed | nothing | down / out since | 1.23 |")
    assert summary == "2 rows; the longest took 1.23 s."
