"""`frontserver demo`: the whole flow on this machine, with a real HAProxy and a real mongod."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import click

from frontserver.cli.demonstration.story import Story
from frontserver.cli.options import log_to_stderr


@click.command()
@click.option("--no-mongodb", is_flag=True, help="Leave the MongoDB part out.")
@click.option("--once", is_flag=True, help="Stop after the last step instead of staying up.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".demo"),
    show_default=True,
    help="Where the demo keeps its state; made anew each time.",
)
@click.option("--verbose", is_flag=True, help="Show the front server's log too.")
def demo(directory: Path, *, no_mongodb: bool, once: bool, verbose: bool) -> None:
    """Run everything here: front server, HAProxy, an agent, its app and its database.

    Shows each step of an agent's life and what came back, ends with commands to paste, and
    stays up until Ctrl-C.
    """
    log_to_stderr("info" if verbose else "error")
    logging.captureWarnings(capture=True)
    story = Story(directory.absolute(), mongodb=not no_mongodb, once=once)
    asyncio.run(story.run())
