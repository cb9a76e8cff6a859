"""The caller of a request, once its credentials are checked."""

from __future__ import annotations

import msgspec

from frontserver.errors import PermissionDeniedError
from frontserver.model.names import AgentId


class Principal(msgspec.Struct, frozen=True):
    """An operator, or exactly one agent. `name` is what the audit log records."""

    name: str
    agent_id: AgentId | None = None
    operator: bool = False

    def require_agent(self, agent_id: AgentId) -> None:
        """Raise `PermissionDeniedError` unless this is that agent or an operator."""
        if not self.operator and self.agent_id != agent_id:
            raise PermissionDeniedError("this resource belongs to another agent")

    def require_operator(self) -> None:
        """Raise `PermissionDeniedError` unless this is an operator."""
        if not self.operator:
            raise PermissionDeniedError("only an operator may do this")


def agent(agent_id: AgentId) -> Principal:
    """The principal of an agent."""
    return Principal(name=f"agent:{agent_id}", agent_id=agent_id)


OPERATOR = Principal(name="operator", operator=True)
SYSTEM = Principal(name="system", operator=True)
