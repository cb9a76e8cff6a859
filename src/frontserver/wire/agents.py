"""Registration, authentication and the agent itself, on the wire."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from frontserver.wire.certificates import CertificateBundle
from frontserver.wire.routes.answers import RouteView


class RegisterRequest(msgspec.Struct, rename="camel", frozen=True):
    """POST /api/agents/register. Unknown fields are ignored: older agents send more."""

    agent_id: str
    agent_key: str
    agent_name: str | None = None
    target_ip: str | None = None


class RegisterAnswer(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """`token` is a JWT; `expires_at` is RFC 3339 in UTC."""

    success: bool = True
    message: str
    agent_id: str
    agent_name: str
    target_ip: str
    token: str
    expires_at: str
    tls_enabled: bool
    certificates: CertificateBundle


class AuthenticateRequest(msgspec.Struct, rename="camel", frozen=True):
    """POST /api/agents/authenticate."""

    agent_id: str
    agent_key: str


class AuthenticateAnswer(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A fresh token; `expires_at` is RFC 3339 in UTC."""

    success: bool = True
    agent_id: str
    token: str
    expires_at: str


class RotateKeyRequest(msgspec.Struct, rename="camel", frozen=True):
    """POST /api/agents/{agentId}/key: the new key."""

    agent_key: str


class AgentView(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """GET /api/agents/{agentId}: the agent with its routes."""

    success: bool = True
    agent_id: str
    agent_name: str
    target_ip: str
    created_at: str
    updated_at: str
    routes: list[RouteView]


class Acknowledgement(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A plain confirmation. `status` is how far a removed route is: removed, pending or failed.

    `reload` is why its removal needed a reload of HAProxy, or waits for one.
    """

    success: bool = True
    message: str
    status: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    reload: str | UnsetType = UNSET
