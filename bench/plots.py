"""Small plots in SVG, without a library: lines over sizes, and bars. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 170, 44, 40
_COLOURS = ("#0b6e4f", "#2a9d8f", "#8ab17d", "#b08900", "#6c757d", "#d1495b", "#00798c", "#8d5a97")
_FONT = 'font-family="sans-serif" font-size="12"'


def lines(
    title: str, unit: str, sizes: Sequence[int], series: Mapping[str, Sequence[float | None]]
) -> str:
    """A line a series over `sizes`, evenly spaced; the other axis is logarithmic.

    A value may be missing (`None`) or must be greater than 0.
    """
    values = [value for line in series.values() for value in line if value]
    low, high = _decades(values)
    parts = [_head(title), *_grid(low, high, unit)]
    for number, size in enumerate(sizes):
        x = _x(number, len(sizes))
        parts.append(_text(x, _HEIGHT - _BOTTOM + 20, f"{size:,}", anchor="middle"))
    for index, (name, line) in enumerate(series.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        points = [
            (_x(number, len(sizes)), _y(value, low, high))
            for number, value in enumerate(line)
            if value
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        y = _TOP + 8 + 18 * index
        x = _WIDTH - _RIGHT + 16
        parts.append(f'<rect x="{x}" y="{y - 9}" width="12" height="10" fill="{colour}"/>')
        parts.append(_text(x + 18, y, name))
    return "\n".join([*parts, "</svg>", ""])


def bars(title: str, unit: str, values: Mapping[str, float]) -> str:
    """A horizontal bar a value, with the value beside it; linear from 0."""
    height = 50 + 26 * len(values)
    most = max(values.values(), default=1) or 1
    parts = [_head(title, height)]
    for index, (name, value) in enumerate(values.items()):
        y = 40 + 26 * index
        width = max(1.0, value / most * (_WIDTH - 330))
        colour = _COLOURS[index % len(_COLOURS)]
        parts.append(_text(200, y + 13, name, anchor="end"))
        parts.append(f'<rect x="210" y="{y}" width="{width:.1f}" height="18" fill="{colour}"/>')
        parts.append(_text(216 + width, y + 13, f"{number(value)} {unit}"))
    return "\n".join([*parts, "</svg>", ""])


def number(value: float) -> str:
    """Three digits that count: 0.123, 12.3, 1,230."""
    if value == 0:
        return "0"
    digits = 2 - floor(log10(abs(value)))
    return f"{round(value, digits):,.{max(0, min(digits, 3))}f}"


def _decades(values: Sequence[float]) -> tuple[int, int]:
    if not values:
        return 0, 1
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    return low, max(high, low + 1)


def _grid(low: int, high: int, unit: str) -> list[str]:
    parts = []
    for decade in range(low, high + 1):
        y = _y(10.0**decade, low, high)
        parts.append(
            f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}" stroke="#ddd"/>'
        )
        parts.append(_text(_LEFT - 8, y + 4, f"{10.0**decade:g} {unit}", anchor="end"))
    return parts


def _x(position: int, count: int) -> float:
    return _LEFT + 20 + position * (_WIDTH - _LEFT - _RIGHT - 40) / max(1, count - 1)


def _y(value: float, low: int, high: int) -> float:
    share = (log10(value) - low) / (high - low)
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _head(title: str, height: int = _HEIGHT) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}">\n'
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>\n'
        f'<text x="16" y="24" font-family="sans-serif" font-size="15">{escape(title)}</text>'
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {_FONT} text-anchor="{anchor}">{escape(text)}</text>'
