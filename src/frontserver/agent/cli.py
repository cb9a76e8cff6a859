"""`frontserver-agent`: the program beside an agent's services."""

from __future__ import annotations

import click

from frontserver.agent import commands_routes as routes
from frontserver.agent import commands_upkeep as upkeep
from frontserver.agent.program import Program, shared_options


@click.group(cls=Program)
@click.version_option(package_name="frontserver", prog_name="frontserver-agent")
@shared_options
def main() -> None:
    """Get HTTP and MongoDB routes from a front server, and keep certificates fresh.

    Exit codes: 0 done, 1 refused by the server, 2 wrong usage, 3 server unreachable or route
    not active in time, 4 a problem on this host (files, certificates, mongod).
    """


for command in (
    routes.register,
    routes.http,
    routes.mongo,
    routes.list_routes,
    routes.remove,
    upkeep.certs,
    upkeep.mongod,
    upkeep.renew,
    upkeep.run,
):
    main.add_command(command)
