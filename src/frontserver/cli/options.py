"""What several subcommands share: settings and logging."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from frontserver import settings as settings_module
from frontserver.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


def config_option(function: F) -> F:
    """`--config FILE`, also after the subcommand, where people write it."""
    return click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="A TOML file with settings; the environment wins over it.",
    )(function)


def load_settings(context: click.Context, config_file: Path | None) -> Settings:
    """The settings from the environment and the file that was named, if any."""
    inherited = context.find_root().obj
    return settings_module.load(config=config_file or inherited)


def log_to_stderr(level: str) -> None:
    """One line an event, with the time in UTC."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("alembic", "httpx", "sqlalchemy"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
