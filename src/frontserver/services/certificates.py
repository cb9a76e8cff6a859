"""Certificates of agents: issued once, renewed when due, signed from a request."""

from __future__ import annotations

from frontserver.model.names import AgentId
from frontserver.wire.certificates import AgentConfig, CertificateBundle


class CertificateService:
    """Hands out an agent's certificate and the configuration around it."""

    async def bundle(self, agent_id: AgentId) -> CertificateBundle:
        raise NotImplementedError

    async def config(self, agent_id: AgentId) -> AgentConfig:
        raise NotImplementedError

    async def ca_pem(self) -> str:
        raise NotImplementedError

    async def sign(self, agent_id: AgentId, csr_pem: str) -> CertificateBundle:
        raise NotImplementedError
