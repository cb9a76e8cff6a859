"""The `frontserver` command: one module a subcommand.

Belongs here: reading arguments, printing, exit codes. Doesn't: anything another program could
want; that is put together in `app` and `composition`, or lives below them.
"""

from frontserver.cli.main import main

__all__ = ["main"]
