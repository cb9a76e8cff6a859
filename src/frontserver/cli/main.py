"""The command's root: common options, and errors as one clear line each."""

from __future__ import annotations

import gc
import importlib
import logging
import sys
from pathlib import Path

import click

from frontserver import __version__
from frontserver.cli.options import config_option
from frontserver.errors import FrontServerError, SettingsError

USAGE_ERROR = 2


# Each is a command in the module of its name. The server's imports take a second or more: a
# command pays for its own only.
_COMMANDS = ("serve", "demo", "agents", "config", "haproxy")


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        # Collections would find nothing among modules, and take an eighth of the time.
        gc.disable()
        try:
            command = getattr(importlib.import_module(f"frontserver.cli.{cmd_name}"), cmd_name)
        finally:
            gc.enable()
        assert isinstance(command, click.Command)  # noqa: S101 - narrows for the type checker
        return command


@click.group(cls=_LazyGroup)
@click.version_option(__version__, prog_name="frontserver")
@config_option
@click.pass_context
def group(context: click.Context, config_file: Path | None) -> None:
    """A control plane for HAProxy: agents ask over REST, routes go live without a reload."""
    context.obj = config_file


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
