"""A migrated database in a directory of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from frontserver.storage.engine import Database, open_database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "state.sqlite3"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    database = open_database(f"sqlite:///{path}", busy_ms=50)
    await database.migrate()
    yield database
    await database.close()
