"""Services over a real database file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from frontserver.storage.engine import Database, open_database
from tests.unit.services.house import House


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = open_database(f"sqlite:///{tmp_path / 'state.sqlite3'}")
    await database.migrate()
    yield database
    await database.close()


@pytest.fixture
async def house(database: Database) -> House:
    house = House(database)
    await house.prepare()
    return house
