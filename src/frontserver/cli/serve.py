"""`frontserver serve`: the front server itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import click

from frontserver.app import FrontServer
from frontserver.cli.options import config_option, load_settings, log_to_stderr


@click.command()
@config_option
@click.option("--stop-haproxy", is_flag=True, help="Stop HAProxy too when this stops.")
@click.option(
    "--share-ports",
    is_flag=True,
    help="Start HAProxy beside another one on the same ports, to take over from it.",
)
@click.pass_context
def serve(
    context: click.Context, config_file: Path | None, *, stop_haproxy: bool, share_ports: bool
) -> None:
    """Serve the API and drive HAProxy, until SIGTERM or Ctrl-C.

    HAProxy goes on serving afterwards, unless told otherwise here; `frontserver haproxy stop`
    stops it later.
    """
    settings = load_settings(context, config_file)
    log_to_stderr(settings.log_level)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        server = FrontServer(settings, stop_haproxy=stop_haproxy, share_ports=share_ports)
        runner.run(server.run())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, which costs a request less than asyncio's own; that one where there is none."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop
