"""Agents and invitations as they are stored."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, bindparam, delete, select

from frontserver.model.names import AgentId
from frontserver.storage.repository import Repository, table_of
from frontserver.storage.tables import AgentRow, InvitationRow


class AgentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A registered agent. `tokens_valid_after` is Unix seconds: older tokens are revoked."""

    agent_id: AgentId
    name: str
    target_ip: str
    # Whether target_ip was the address the agent registered from.
    peer_verified: bool
    key_hash: str
    tokens_valid_after: float
    created_at: datetime
    updated_at: datetime

    def __repr__(self) -> str:
        return f"AgentRecord(agent_id={self.agent_id!r})"


_agents = table_of(AgentRow)
_FIND = select(_agents).where(_agents.c.agent_id == bindparam("agent_id"))
_VALID_AFTER = select(_agents.c.tokens_valid_after).where(
    _agents.c.agent_id == bindparam("agent_id")
)
_REMOVE = delete(_agents).where(_agents.c.agent_id == bindparam("agent_id"))

_invitations = table_of(InvitationRow)
_INVITED = select(_invitations.c.key_hash).where(_invitations.c.agent_id == bindparam("agent_id"))
_END_INVITATION = delete(_invitations).where(_invitations.c.agent_id == bindparam("agent_id"))


class AgentRepository(Repository[AgentRow]):
    """Agents, in one transaction. Whatever changes one tells the session so."""

    model_type = AgentRow
    id_attribute = "agent_id"

    def find(self, agent_id: AgentId) -> AgentRecord | None:
        """The agent, if it is registered."""
        row = self.session.run(_FIND, {"agent_id": agent_id}).one_or_none()
        return None if row is None else _record(row)

    def tokens_valid_after(self, agent_id: AgentId) -> float | None:
        """Since when the agent's tokens are valid; `None` if there is no such agent."""
        found: float | None = self.session.run(_VALID_AFTER, {"agent_id": agent_id}).scalar()
        return found

    def put(self, record: AgentRecord) -> None:
        """Store a new agent, or replace what is known of it."""
        self.upsert_rows([msgspec.structs.asdict(record)])
        self.session.agents_changed.add(record.agent_id)

    def remove(self, agent_id: AgentId) -> None:
        """Forget the agent; its routes must be gone already."""
        self.session.run(_REMOVE, {"agent_id": agent_id})
        self.session.agents_changed.add(agent_id)


class InvitationRepository(Repository[InvitationRow]):
    """Invitations, in one transaction."""

    model_type = InvitationRow
    id_attribute = "agent_id"

    def key_hash(self, agent_id: AgentId) -> str | None:
        """The hash of the invited agent's key, if there is an invitation."""
        found: str | None = self.session.run(_INVITED, {"agent_id": agent_id}).scalar()
        return found

    def put(self, agent_id: AgentId, key_hash: str, at: datetime) -> None:
        """Invite an agent; an older invitation ends."""
        self.upsert_rows([{"agent_id": agent_id, "key_hash": key_hash, "created_at": at}])

    def remove(self, agent_id: AgentId) -> None:
        """End the invitation, if there is one."""
        self.session.run(_END_INVITATION, {"agent_id": agent_id})


def _record(row: Row[Any]) -> AgentRecord:
    return AgentRecord(
        agent_id=AgentId(row.agent_id),
        name=row.name,
        target_ip=row.target_ip,
        peer_verified=row.peer_verified,
        key_hash=row.key_hash,
        tokens_valid_after=row.tokens_valid_after,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
