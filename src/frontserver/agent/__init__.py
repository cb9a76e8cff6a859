"""What runs beside an agent's services: a typed SDK (sync and async) and `frontserver-agent`.

Belongs here: calling the API, keeping certificates on disk, configuring mongod.
Doesn't: anything of the server; it imports `wire`, `model` and `errors` only.
"""

from frontserver.agent.client import AsyncClient, Client
from frontserver.agent.errors import (
    AgentError,
    LocalError,
    NotActiveError,
    RefusedError,
    UnexpectedAnswerError,
    UnreachableError,
)
from frontserver.agent.retry import RetryPolicy

__all__ = [
    "AgentError",
    "AsyncClient",
    "Client",
    "LocalError",
    "NotActiveError",
    "RefusedError",
    "RetryPolicy",
    "UnexpectedAnswerError",
    "UnreachableError",
]
