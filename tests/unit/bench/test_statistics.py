"""The statistics of the report."""

from __future__ import annotations

import pytest

from bench.statistics import Summary, percentile, ratio, split, summary


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (0.995, 100.0), (1.0, 100.0)]
)
def test_a_percentile_is_the_nearest_rank(share: float, expected: float) -> None:
    values = [float(value) for value in range(100, 0, -1)]

    assert expected == percentile(values, share)


def test_with_few_values_the_99th_percentile_is_the_largest() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)

    assert summary([]) is None


def test_a_summary_counts_and_has_both_quantiles() -> None:
    assert Summary(4, 2.0, 4.0) == summary([4.0, 1.0, 2.0, 3.0])


def test_values_are_split_by_their_indexes() -> None:
    assert split([1.0, 2.0, 3.0, 4.0], [1, 3]) == ([1.0, 3.0], [2.0, 4.0])


def test_nothing_is_compared_with_zero() -> None:
    assert ratio(1.0, 0.0) is None
    assert ratio(3.0, 2.0) == 1.5
