"""Runs the packaged Alembic migrations on an open connection."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

_SCRIPTS = Path(__file__).with_name("migrations")


def configuration(connection: Connection) -> Config:
    """Alembic's configuration, with the connection to use."""
    config = Config()
    # Alembic reads options through configparser, where % begins an interpolation.
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> None:
    """Run what is missing up to the newest revision, in the connection's transaction."""
    command.upgrade(configuration(connection), "head")
