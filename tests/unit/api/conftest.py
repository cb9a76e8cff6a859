"""The API over fake services."""

from __future__ import annotations

import pytest

from tests.unit.api.fakes import World


@pytest.fixture
def world() -> World:
    return World()
