"""The command's root: common options, and errors as one clear line each."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from frontserver import __version__
from frontserver.cli.agents import agents
from frontserver.cli.config import config
from frontserver.cli.demo import demo
from frontserver.cli.haproxy import haproxy
from frontserver.cli.serve import serve
from frontserver.errors import FrontServerError, SettingsError

USAGE_ERROR = 2


@click.group()
@click.version_option(__version__, prog_name="frontserver")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A TOML file with settings; the environment wins over it.",
)
@click.pass_context
def group(context: click.Context, config_file: Path | None) -> None:
    """A control plane for HAProxy: agents ask over REST, routes go live without a reload."""
    context.obj = config_file


for command in (serve, demo, agents, config, haproxy):
    group.add_command(command)


def main() -> None:
    """Run the command; a mistake ends it with a sentence, never with a traceback."""
    try:
        group(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except SettingsError as error:
        for problem in error.problems:
            click.echo(f"frontserver: {problem}", err=True)
        sys.exit(USAGE_ERROR)
    except FrontServerError as error:
        logging.getLogger(__name__).debug("ended by an error", exc_info=error)
        click.echo(f"frontserver: {error}", err=True)
        sys.exit(1)
