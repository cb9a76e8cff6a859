"""`frontserver haproxy`: the embedded HAProxy, which outlives the control plane."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from frontserver.cli.options import config_option, load_settings
from frontserver.composition.haproxy import embedded_haproxy


@click.group()
def haproxy() -> None:
    """Look at or stop the embedded HAProxy."""


@haproxy.command()
@config_option
@click.option("--graceful", is_flag=True, help="Let streams end by themselves first.")
@click.pass_context
def stop(context: click.Context, config_file: Path | None, *, graceful: bool) -> None:
    """Stop the embedded HAProxy of this state directory."""
    process = embedded_haproxy(load_settings(context, config_file))
    stopped = asyncio.run(process.stop(graceful=graceful))
    click.echo("HAProxy has stopped." if stopped else "HAProxy wasn't running.")
