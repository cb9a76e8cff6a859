"""`frontserver config`: see and check what HAProxy would load, without touching anything."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import click

from frontserver.app import checker, rendered_configuration
from frontserver.cli.options import config_option, load_settings


@click.group()
def config() -> None:
    """Render or check HAProxy's configuration."""


@config.command()
@config_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the files below this directory instead of printing them.",
)
@click.pass_context
def render(context: click.Context, config_file: Path | None, output: Path | None) -> None:
    """Render the whole configuration from the stored routes.

    Keys of certificates are left out of what is printed.
    """
    files = asyncio.run(rendered_configuration(load_settings(context, config_file)))
    if output is not None:
        _write(files, output)
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
    settings = load_settings(context, config_file)

    async def run() -> int:
        files = await rendered_configuration(settings)
        with tempfile.TemporaryDirectory(prefix="frontserver-check-") as directory:
            _write(files, Path(directory))
            await checker(settings)(Path(directory))
        return len(files)

    click.echo(f"The configuration is valid ({asyncio.run(run())} files).")


def _write(files: dict[str, str], directory: Path) -> None:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(text)
