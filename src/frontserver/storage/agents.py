"""Agents and invitations as they are stored."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import delete, select

from frontserver.model.names import AgentId
from frontserver.storage.repository import Repository
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


class AgentRepository(Repository[AgentRow]):
    """Agents, in one transaction."""

    model_type = AgentRow
    id_attribute = "agent_id"

    async def find(self, agent_id: AgentId) -> AgentRecord | None:
        """The agent, if it is registered."""
        row = await self.session.get(AgentRow, str(agent_id))
        return None if row is None else _record(row)

    async def tokens_valid_after(self, agent_id: AgentId) -> float | None:
        """Since when the agent's tokens are valid; `None` if there is no such agent."""
        query = select(AgentRow.tokens_valid_after).where(AgentRow.agent_id == agent_id)
        return (await self.session.execute(query)).scalar_one_or_none()

    async def put(self, record: AgentRecord) -> None:
        """Store a new agent, or replace what is known of it."""
        await self.upsert_rows([msgspec.structs.asdict(record)])

    async def remove(self, agent_id: AgentId) -> None:
        """Forget the agent; its routes must be gone already."""
        await self.session.execute(delete(AgentRow).where(AgentRow.agent_id == agent_id))


class InvitationRepository(Repository[InvitationRow]):
    """Invitations, in one transaction."""

    model_type = InvitationRow
    id_attribute = "agent_id"

    async def key_hash(self, agent_id: AgentId) -> str | None:
        """The hash of the invited agent's key, if there is an invitation."""
        query = select(InvitationRow.key_hash).where(InvitationRow.agent_id == agent_id)
        return (await self.session.execute(query)).scalar_one_or_none()

    async def put(self, agent_id: AgentId, key_hash: str, at: datetime) -> None:
        """Invite; an older invitation of the same agent ends."""
        await self.upsert_rows([{"agent_id": agent_id, "key_hash": key_hash, "created_at": at}])

    async def remove(self, agent_id: AgentId) -> None:
        """End the invitation, if there is one."""
        await self.session.execute(delete(InvitationRow).where(InvitationRow.agent_id == agent_id))


def _record(row: AgentRow) -> AgentRecord:
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
