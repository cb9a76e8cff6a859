"""The API over fake services."""

from __future__ import annotations

import pytest

from tests.unit.api.fakes import World


@pytest.fixture(scope="session")
def shared() -> World:
    return World()


@pytest.fixture
def world(shared: World) -> World:
    """The same application for every test, since making one is slow; its state is fresh."""
    shared.reset()
    return shared
