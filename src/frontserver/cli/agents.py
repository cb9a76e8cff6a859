"""`frontserver agents`: what an operator does about agents without the API."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from frontserver.cli.options import config_option, load_settings
from frontserver.composition.services import opened_services
from frontserver.model.names import AgentId


@click.group()
def agents() -> None:
    """Manage agents."""


@agents.command()
@click.argument("agent_id")
@config_option
@click.pass_context
def invite(context: click.Context, agent_id: str, config_file: Path | None) -> None:
    """Mint a key for AGENT_ID and print it; it is shown once, and stored only as a hash.

    The agent registers with it: frontserver-agent register --agent-id AGENT_ID --key KEY.
    """
    settings = load_settings(context, config_file)

    async def run() -> str:
        async with opened_services(settings) as services:
            return await services.agents.invite(AgentId(agent_id))

    click.echo(asyncio.run(run()))
