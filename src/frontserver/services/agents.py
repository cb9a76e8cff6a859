"""Agents: registration, authentication, key rotation, invitation and removal."""

from __future__ import annotations

from datetime import datetime

import msgspec

from frontserver.model.names import AgentId
from frontserver.security.principals import Principal
from frontserver.security.tokens import IssuedToken
from frontserver.storage.agents import AgentRecord
from frontserver.wire.agents import AgentView, AuthenticateRequest, RegisterRequest
from frontserver.wire.certificates import CertificateBundle


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """What registering gives: the agent, a token, its certificates; `created` if it is new."""

    agent: AgentRecord
    token: str
    expires_at: datetime
    created: bool
    certificates: CertificateBundle


class AgentService:
    """What agents and operators can do with an agent's identity."""

    async def register(self, request: RegisterRequest, *, peer: str) -> Registration:
        raise NotImplementedError

    async def authenticate(self, request: AuthenticateRequest, *, peer: str) -> IssuedToken:
        raise NotImplementedError

    async def principal_from_token(self, token: str) -> Principal:
        raise NotImplementedError

    async def principal_from_basic(self, agent_id: str, key: str, *, peer: str) -> Principal:
        raise NotImplementedError

    async def show(self, agent_id: AgentId) -> AgentView:
        raise NotImplementedError

    async def remove(self, agent_id: AgentId, principal: Principal, *, peer: str) -> None:
        raise NotImplementedError

    async def rotate_key(
        self, agent_id: AgentId, new_key: str, principal: Principal, *, peer: str
    ) -> None:
        raise NotImplementedError

    async def invite(self, agent_id: AgentId) -> str:
        raise NotImplementedError
