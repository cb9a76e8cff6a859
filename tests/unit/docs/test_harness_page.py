"""`docs/harness.md` shows the example as it is, and what the harness has."""

from __future__ import annotations

import re

import pytest

from harness import choice
from harness.dataplane import DataPlane
from harness.frontserver import FrontServer
from tests.unit.docs.pages import ROOT, page

PAGE = page("docs/harness.md")


def test_the_example_is_the_file() -> None:
    (shown,) = PAGE.blocks("python")

    assert shown == (ROOT / "examples" / "test_my_app.py").read_text()


@pytest.mark.parametrize(
    ("variable", "allowed"),
    [
        (choice.BACKEND, choice.BACKENDS),
        (choice.MONGODB, choice.MONGODBS),
        (choice.WHERE, choice.PLACES),
    ],
)
def test_arguments_have_the_values_there_are(variable: str, allowed: tuple[str, ...]) -> None:
    (row,) = re.findall(rf"^\| .* \| `{variable}` \| (.*) \|$", PAGE.text, re.MULTILINE)

    default, *others = allowed
    assert row.startswith(f"`{default}`, the default, or `{others[0]}`")


def test_what_can_be_done_to_the_parts_can_be_done() -> None:
    (header,) = re.findall(r"^\| \| `stack\.front`.*$", PAGE.text, re.MULTILINE)
    rows = PAGE.text.partition(header)[2].partition("\n\n")[0].splitlines()[2:]
    front, dataplane = set[str](), set[str]()
    for row in rows:
        _, _, first, second, third, _ = row.split("|")
        front |= {*re.findall(r"`(\w+)\(\)`", first), *re.findall(r"stack\.front\.(\w+)", third)}
        dataplane |= {*re.findall(r"`(\w+)\(\)`", second)}

    assert {"kill", "restart", "reload_haproxy"} <= front
    assert [name for name in front if not hasattr(FrontServer, name)] == []
    assert "restart" in dataplane
    assert [name for name in dataplane if not hasattr(DataPlane, name)] == []
