"""The `frontserver` command: one module a subcommand.

Belongs here: reading arguments, printing, exit codes. Doesn't: anything another program could
want; that is composed in `app` or lives below it.
"""

from frontserver.cli.main import main

__all__ = ["main"]
