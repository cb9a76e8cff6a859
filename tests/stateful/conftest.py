"""Fixtures of the stateful tests: sites for examples, and evidence when one fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.choice import chosen_place
from harness.plugin import pytest_runtest_makereport, pytest_runtest_protocol
from tests.stateful.sites import Sites

__all__ = ["pytest_runtest_makereport", "pytest_runtest_protocol"]


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Sites]:
    """What examples run on; open until the evidence is collected."""
    if chosen_place() != "native":
        pytest.skip("random sequences exchange HAProxy's program, which is part of an image")
    sites = Sites(tmp_path)
    yield sites
    sites.close()
