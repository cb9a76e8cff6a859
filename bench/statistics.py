"""The few statistics that the report is made of. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import msgspec


class Summary(msgspec.Struct, frozen=True):
    """How many values there are, and two quantiles of them, in their unit."""

    count: int
    p50: float
    p99: float


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not below `share` (0 to 1) of all: the nearest rank.

    It is always one of the values; with less than 100 of them the 99th percentile is the largest.
    Raises `ValueError` if there is none.
    """
    if not values:
        raise ValueError("there are no values")
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def summary(values: Sequence[float]) -> Summary | None:
    """What is told of a series; `None` if it is empty."""
    if not values:
        return None
    return Summary(len(values), percentile(values, 0.5), percentile(values, 0.99))


def split(values: Sequence[float], inside: Sequence[int]) -> tuple[list[float], list[float]]:
    """The values outside and those inside reload windows; `inside` are indexes of `values`."""
    chosen = set(inside)
    outside = [value for index, value in enumerate(values) if index not in chosen]
    return outside, [value for index, value in enumerate(values) if index in chosen]


def ratio(value: float, reference: float) -> float | None:
    """How many times `reference` `value` is; `None` if there is nothing to divide by."""
    return value / reference if reference > 0 else None
