"""The report is made of the results, and of nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench import results, tables
from bench.plots import bars, lines, number
from bench.report import SECTIONS, filled, plots, publish
from bench.results import DataPath, Live, Machine, Results, Steps, Throughput
from harness.errors import HarnessError
from tests.unit.docs.pages import ROOT

MACHINE = Machine("a processor", 2, 8.0, "Linux 6", "3.11")
PAGE = (ROOT / "docs" / "benchmarks.md").read_text()


def some_results() -> Results:
    return Results(
        MACHINE,
        live=[
            Live(
                "ours:2.8",
                10,
                live_ms=[1.0, 2.0, 90.0],
                answer_ms=[1.0],
                inside=[2],
                reload_ms=[80.0],
            ),
            Live("ours:3.4", 10, live_ms=[4.0]),
            Live("caddy", 10, live_ms=[40.0], lost=3),
            Live("ours:2.8", 10, kind="new profile", live_ms=[300.0], inside=[0]),
        ],
        throughput=[Throughput("ours:2.8", 0, "bulk", 32, 100, 1, 7, 2.0, 1.0, 9.0, 2.5, 4)],
        datapath=[
            DataPath("ours:2.8", 10, 32, [100.0, 300.0, 200.0], [1.0] * 3, [2.0] * 3),
            DataPath("caddy", 10, 32, [50.0], [1.0], [2.0], errors=5),
        ],
    )


def row(text: str, name: str) -> list[str]:
    """The cells of the row that begins with `name`."""
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_others_are_compared_with_the_slowest_of_ours_outside_reloads() -> None:
    table = tables.live(some_results())

    assert row(table, "ours:2.8, 10 routes")[:3] == ["1.00", "2.00", "2"]
    assert row(table, "caddy, 10 routes") == ["40.0", "40.0", "1", "-", "-", "10.0", "3"]


def test_samples_that_met_a_reload_are_told_apart() -> None:
    table = tables.reloads(some_results())

    assert row(table, "ours:2.8, 10 routes")[3:] == ["90.0", "90.0", "1", "1", "80.0", "80.0"]
    assert row(table, "ours:2.8, 10 routes, new profile")[3:6] == ["300", "300", "1"]
    assert "caddy" not in table


def test_what_failed_or_waits_is_told() -> None:
    found = row(tables.throughput(some_results()), "ours:2.8, bulk, 0 routes before")

    assert found == ["100", "2.00", "50.0", "1.00", "9.00", "2.50", "7", "5"]


def test_the_data_path_is_told_by_its_median_round() -> None:
    table = tables.datapath(some_results())

    assert row(table, "ours:2.8, 10 routes")[0] == "200"
    assert row(table, "caddy, 10 routes") == ["50.0", "1.00", "2.00", "0.250", "5"]


def test_steps_that_were_not_found_are_named() -> None:
    steps = Steps("ours:2.8", 0, 5, 10.0, {"commit": 4.0}, missing=["hear"])
    text = tables.steps(Results(MACHINE, steps=[steps]))

    assert row(text, "ours:2.8, 0 routes") == ["4.00 (40 %)", "10.0", "5"]
    assert "hear" in text


def test_a_series_that_was_not_run_is_told() -> None:
    empty = Results(MACHINE)

    assert all(
        "Not measured yet." in section(empty)
        for name, section in SECTIONS.items()
        if name != "machine"
    )


def test_the_page_has_a_place_for_each_section_and_its_prose_stays() -> None:
    text = filled(PAGE, some_results())
    marked = re.compile(r"(<!-- bench:(\w+) -->\n).*?(<!-- /bench:\2 -->)", re.DOTALL)

    assert "| caddy, 10 routes |" in text
    assert marked.sub("", text) == marked.sub("", PAGE)
    assert filled(text, some_results()) == text


def test_a_page_without_its_marks_is_refused() -> None:
    with pytest.raises(HarnessError, match="sections"):
        filled("# Benchmarks\n", some_results())


def test_plots_are_well_formed_even_of_nothing() -> None:
    for found in (some_results(), Results(MACHINE)):
        for text in plots(found).values():
            # Our own text.
            assert ET.fromstring(text).tag.endswith("svg")  # noqa: S314


def test_the_plots_are_those_that_the_page_shows() -> None:
    assert set(plots(some_results())) == set(re.findall(r"\(benchmarks/([\w-]+\.svg)\)", PAGE))


def test_a_greater_value_is_higher_and_a_missing_one_is_left_out() -> None:
    text = lines("t", "ms", [0, 10, 20], {"a": [1.0, None, 10.0]})
    (points,) = re.findall(r'points="([^"]+)"', text)
    heights = [float(point.split(",")[1]) for point in points.split()]

    assert len(heights) == 2
    assert heights[0] > heights[1]


def test_the_longest_bar_is_the_largest_value() -> None:
    text = bars("t", "/s", {"a": 1.0, "b": 4.0})
    widths = re.findall(r'x="210" y="\d+" width="([\d.]+)"', text)

    first, second = map(float, widths)
    assert second == pytest.approx(first * 4)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (0.12345, "0.123"),
        (1.0, "1.00"),
        (12.34, "12.3"),
        (1234.5, "1,230"),
        (-2.5, "-2.50"),
    ],
)
def test_numbers_have_three_digits_that_count(value: float, expected: str) -> None:
    assert expected == number(value)


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    results.save(some_results(), tmp_path / "results.json")

    assert some_results() == results.load(tmp_path / "results.json")


def test_publishing_writes_the_page_the_plots_and_the_results(tmp_path: Path) -> None:
    (tmp_path / "benchmarks.md").write_text(PAGE)

    publish(some_results(), tmp_path)

    written = {path.name for path in (tmp_path / "benchmarks").iterdir()}
    assert written == {*plots(some_results()), "results.json"}
    assert "| caddy, 10 routes |" in (tmp_path / "benchmarks.md").read_text()
