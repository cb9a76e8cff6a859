"""What can go wrong on the agent's side.

AgentError
├── RefusedError            the front server understood, and said no
├── UnreachableError        no answer, or one that says "not now", after all attempts
├── UnexpectedAnswerError   something answered that isn't a front server of this kind
├── NotActiveError          the route is stored, but carries no traffic (yet)
└── LocalError              a file, mongod or a program on this host
"""

from __future__ import annotations

from frontserver.errors import FrontServerError
from frontserver.wire.problems import Problem


class AgentError(FrontServerError):
    """The root of what the SDK and the agent program raise."""

    stage = "agent"


class RefusedError(AgentError):
    """The server's own refusal: `status` is the HTTP status, `problem` the whole answer."""

    def __init__(self, problem: Problem, status: int) -> None:
        fields = "; ".join(f"{item.field}: {item.message}" for item in problem.errors or ())
        # A validation answer often repeats its only field message as `detail`.
        said = problem.detail or problem.title
        super().__init__(
            f"{said} [{fields}]" if fields and fields not in said else said,
            hint=problem.hint or _HINTS.get(status),
        )
        self.problem = problem
        self.status = status


_HINTS = {
    401: "check the agent id and key",
    403: "use the id and key of the agent that owns this resource",
}


class UnreachableError(AgentError):
    """No usable answer in time; trying later may help."""


class UnexpectedAnswerError(AgentError):
    """The answer isn't what this API gives: probably a wrong URL, or a proxy in between."""


class NotActiveError(AgentError):
    """The route is stored and `failed`, or still `pending` when the wait was over."""

    def __init__(self, message: str, *, status: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class LocalError(AgentError):
    """Something on this host: a file that can't be written, mongod that doesn't start."""
