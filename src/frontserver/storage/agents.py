"""Agents and invitations as they are stored."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import bindparam, delete, select

from frontserver.model.names import AgentId
from frontserver.storage.repository import Repository, table_of, upsert
from frontserver.storage.statements import Row, Statement
from frontserver.storage.tables import AgentRow, InvitationRow


class AgentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A registered agent. `tokens_valid_after` is Unix seconds: tokens of before are revoked."""

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
_FIND = Statement(select(_agents).where(_agents.c.agent_id == bindparam("agent_id")))
_VALID_AFTER = Statement(
    select(_agents.c.tokens_valid_after).where(_agents.c.agent_id == bindparam("agent_id"))
)
_PUT = upsert(AgentRow)
_REMOVE = Statement(delete(_agents).where(_agents.c.agent_id == bindparam("agent_id")))

_invitations = table_of(InvitationRow)
_INVITED = Statement(
    select(_invitations.c.key_hash).where(_invitations.c.agent_id == bindparam("agent_id"))
)
_INVITE = upsert(InvitationRow)
_END_INVITATION = Statement(
    delete(_invitations).where(_invitations.c.agent_id == bindparam("agent_id"))
)


class AgentRepository(Repository[AgentRow]):
    """Agents, in one transaction. Whatever changes one tells the session so."""

    model_type = AgentRow
    id_attribute = "agent_id"

    def find(self, agent_id: AgentId) -> AgentRecord | None:
        """The agent, if it is registered."""
        return next(map(_record, self.session.rows(_FIND, agent_id=agent_id)), None)

    def tokens_valid_after(self, agent_id: AgentId) -> float | None:
        """Since when the agent's tokens are valid; `None` if there is no such agent."""
        rows = self.session.rows(_VALID_AFTER, agent_id=agent_id)
        return float(rows[0][0]) if rows else None

    def put(self, record: AgentRecord) -> None:
        """Store a new agent, or replace what is known of it."""
        self.session.change(_PUT, msgspec.structs.asdict(record))
        self.session.agents_changed.add(record.agent_id)

    def remove(self, agent_id: AgentId) -> None:
        """Forget the agent; its routes must be gone already."""
        self.session.change(_REMOVE, {"agent_id": agent_id})
        self.session.agents_changed.add(agent_id)


class InvitationRepository(Repository[InvitationRow]):
    """Invitations, in one transaction."""

    model_type = InvitationRow
    id_attribute = "agent_id"

    def key_hash(self, agent_id: AgentId) -> str | None:
        """The hash of the invited agent's key, if there is an invitation."""
        rows = self.session.rows(_INVITED, agent_id=agent_id)
        return str(rows[0][0]) if rows else None

    def put(self, agent_id: AgentId, key_hash: str, at: datetime) -> None:
        """Invite; an older invitation of the same agent ends."""
        values = {"agent_id": agent_id, "key_hash": key_hash, "created_at": at}
        self.session.change(_INVITE, values)

    def remove(self, agent_id: AgentId) -> None:
        """End the invitation, if there is one."""
        self.session.change(_END_INVITATION, {"agent_id": agent_id})


def _record(row: Row) -> AgentRecord:
    columns = dict(zip(_agents.c.keys(), row, strict=True))
    return AgentRecord(**{**columns, "agent_id": AgentId(columns["agent_id"])})
