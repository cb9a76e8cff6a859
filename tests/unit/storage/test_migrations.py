"""Migrations: from nothing to today's tables, and never apart from them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event, inspect, select, table, text

from frontserver.storage.engine import open_database
from frontserver.storage.migrate import configuration, upgrade
from frontserver.storage.tables import Table


def test_migrations_make_exactly_the_tables_of_the_models() -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Table.metadata))

    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        assert differences(connection) != []
        upgrade(connection)
        assert differences(connection) == []
    engine.dispose()


def test_there_is_one_line_of_migrations() -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        scripts = ScriptDirectory.from_config(configuration(connection))
    engine.dispose()
    assert len(scripts.get_heads()) == 1


def test_the_way_down_leaves_nothing_behind() -> None:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        upgrade(connection)
        command.downgrade(configuration(connection), "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]
    engine.dispose()


def test_names_are_widened_and_nothing_is_lost() -> None:
    """Statuses neither, though SQLite copies the table of the routes that they belong to."""
    engine = create_engine("sqlite://")
    event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA foreign_keys=ON"))
    rows = {
        "agents": "INSERT INTO agents VALUES ('a1', 'a1', '192.0.2.1', 1, 'h', 0, '2030', '2030')",
        "revisions": "INSERT INTO revisions VALUES (1, '2030-01-01', 'a1', 'x', 'y')",
        "nodes": "INSERT INTO nodes VALUES ('n', 'n')",
        "routes": "INSERT INTO routes VALUES ('http', 's', 'a1', '{}', 1, '2030', '2030')",
        "removed_routes": "INSERT INTO removed_routes VALUES ('http', 'gone', 1)",
        "route_status": "INSERT INTO route_status VALUES ('n', 'http', 's', 'x', NULL, 1, '2030')",
    }
    with engine.begin() as connection:
        command.upgrade(configuration(connection), "0001")
        for statement in rows.values():
            connection.exec_driver_sql(statement)

        def content() -> list[list[Any]]:
            whole = (select(text("*")).select_from(table(name)) for name in rows)
            return [list(connection.execute(query)) for query in whole]

        before = content()
        assert all(before)
        command.upgrade(configuration(connection), "0002")
        assert content() == before
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        command.downgrade(configuration(connection), "0001")
        assert content() == before
    engine.dispose()


def test_routes_that_are_there_count_as_taken_with_their_last_change() -> None:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        command.upgrade(configuration(connection), "0002")
        for statement in (
            "INSERT INTO agents VALUES ('a1', 'a1', '192.0.2.1', 1, 'h', 0, '2030', '2030')",
            "INSERT INTO revisions VALUES (7, '2030-01-01', 'a1', 'x', 'y')",
            "INSERT INTO routes VALUES ('http', 's', 'a1', '{}', 7, '2030', '2030')",
        ):
            connection.exec_driver_sql(statement)
        upgrade(connection)
        assert connection.execute(select(text("created_revision FROM routes"))).all() == [(7,)]
    engine.dispose()


async def test_two_processes_may_migrate_at_once(path: Path) -> None:
    both = [open_database(f"sqlite:///{path}") for _ in range(2)]
    await asyncio.gather(*(database.migrate() for database in both))
    for database in both:
        await database.close()


async def test_a_migration_that_fails_leaves_the_database_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(connection: Connection) -> None:
        upgrade(connection)
        raise RuntimeError("power cut")

    database = open_database(f"sqlite:///{path}")
    monkeypatch.setattr("frontserver.storage.migrate.upgrade", breaks)
    with pytest.raises(RuntimeError):
        await database.migrate()
    await database.close()
    engine = create_engine(f"sqlite:///{path}")
    assert inspect(engine).get_table_names() == []
    engine.dispose()
