"""Our lines in frontends of the operator's: all are known again, and only ours are disturbed."""

from __future__ import annotations

import re

import msgspec
import pytest

from frontserver.model.targets import HostPort
from frontserver.rendering.render import FRONTENDS, Renderer
from frontserver.rendering.templates import Templates
from tests.unit.planning.routes import FRONTENDS as PLAIN

ADOPTING = msgspec.structs.replace(
    PLAIN,
    https_binds=(HostPort("0.0.0.0", 8443),),
    http_adopted=("www", "shop"),
    mongodb_adopted=("databases",),
)


@pytest.fixture
def renderer() -> Renderer:
    return Renderer(Templates())


def test_without_any_there_is_nothing(renderer: Renderer) -> None:
    assert renderer.adopted(PLAIN) == {}


def test_every_line_names_a_variable_of_ours(renderer: Renderer) -> None:
    adopted = renderer.adopted(ADOPTING)
    assert {name: mode for name, (mode, _) in adopted.items()} == {
        "www": "http",
        "shop": "http",
        "databases": "tcp",
    }
    for _, text in adopted.values():
        lines = [line for line in text.splitlines() if line.partition("#")[0].strip()]
        assert lines
        assert all(re.search(r"\b(?:txn|sess)\.fs_", line) for line in lines), lines


def test_headers_are_touched_for_routes_alone(renderer: Renderer) -> None:
    _, text = renderer.adopted(ADOPTING)["www"]
    touching = [line for line in text.splitlines() if "-header " in line]
    assert len(touching) == 5
    assert all(line.endswith("if { var(txn.fs_backend) -m found }") for line in touching)


def test_then_there_are_no_frontends_of_ours(renderer: Renderer) -> None:
    text = renderer.frame(ADOPTING, generation="000001")[FRONTENDS]
    assert "frontend " not in text
    assert "backend fs_none" in text
