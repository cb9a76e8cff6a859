"""`frontserver config`: see, check and compare what HAProxy would load, without touching it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from frontserver.cli.configuration import compared_configuration, rendered_configuration
from frontserver.cli.differences import differences
from frontserver.cli.options import config_option, load_settings
from frontserver.composition.haproxy import check_files, controller_lock, write_files
from frontserver.composition.templates import make_templates, rehearsal
from frontserver.errors import (
    FrontServerError,
    ProxyUnavailableError,
    SettingsError,
    StorageError,
)
from frontserver.rendering.render import Renderer
from frontserver.settings import Settings

_DIFFERENT = 1
_TROUBLE = 2


@click.group()
def config() -> None:
    """Render, compare or check HAProxy's configuration; have changed templates taken up."""


@config.command()
@config_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the files below this directory instead of printing them.",
)
@click.option(
    "--diff",
    is_flag=True,
    help="Compare with what is on disk for HAProxy. Ends with 0: the same, 1: not, 2: trouble.",
)
@click.pass_context
def render(
    context: click.Context, config_file: Path | None, output: Path | None, *, diff: bool
) -> None:
    """Render the whole configuration from the stored routes.

    Keys of certificates are left out of what is printed.
    """
    if diff:
        if output is not None:
            raise click.UsageError("--diff and --output don't go together")
        with _trouble_is_2():
            sys.exit(_print_differences(load_settings(context, config_file)))
    settings = load_settings(context, config_file)
    files = asyncio.run(rendered_configuration(settings, Renderer(make_templates(settings))))
    if output is not None:
        write_files(files, output)
        click.echo(f"{len(files)} files written to {output}")
        return
    for name, text in sorted(files.items()):
        if not name.endswith(".pem"):
            click.echo(f"# --- {name}\n{text}", nl=False)


@config.command()
@config_option
@click.pass_context
def check(context: click.Context, config_file: Path | None) -> None:
    """Check settings, templates and stored routes, with HAProxy's own verdict."""
    count = _checked(load_settings(context, config_file))
    click.echo(f"The configuration is valid ({count} files).")


@config.command()
@config_option
@click.pass_context
def reload(context: click.Context, config_file: Path | None) -> None:
    """Have the running front server take up changed templates, if they pass `config check`."""
    settings = load_settings(context, config_file)
    _checked(settings)
    process = controller_lock(settings).holder()
    if process is None:
        raise ProxyUnavailableError(
            f"no front server runs on {settings.state_dir}",
            hint="the next `frontserver serve` starts with the changed templates",
        )
    os.kill(process, signal.SIGHUP)
    click.echo(f"The front server (PID {process}) takes them up; /health/ready warns if it can't.")


def _checked(settings: Settings) -> int:
    """The number of files, all of which HAProxy takes; raises what is wrong."""

    async def run() -> int:
        templates = make_templates(settings)
        renderer = Renderer(templates)
        # Profiles of the operator's that no route has yet are in the rehearsal alone.
        await check_files(settings, renderer, rehearsal(settings, templates))
        files = await rendered_configuration(settings, renderer)
        await check_files(settings, renderer, files)
        return len(files)

    return asyncio.run(run())


def _print_differences(settings: Settings) -> int:
    if settings.backend == "dataplane":
        raise StorageError(
            "the Data Plane API words and orders anew what it is given, so that its file can't be "
            "compared with what is rendered",
            hint="`frontserver config render` prints what it is given; `config check` tries it",
        )
    renderer = Renderer(make_templates(settings))
    present, wanted = asyncio.run(compared_configuration(settings, renderer))
    status = 0
    for line in differences(present, wanted):
        click.echo(line)
        status = _DIFFERENT
    return status


@contextlib.contextmanager
def _trouble_is_2() -> Iterator[None]:
    """As diff(1) ends, so that a script can tell trouble from a difference."""
    try:
        yield
    except SettingsError:
        raise
    except FrontServerError as error:
        click.echo(f"frontserver: {error}", err=True)
        sys.exit(_TROUBLE)
