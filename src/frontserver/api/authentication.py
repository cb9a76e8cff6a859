"""Who calls: a bearer token, or an agent's id and key, in the `Authorization` header.

Every handler needs credentials unless it is marked with `**PUBLIC`.
"""

from __future__ import annotations

import base64
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp

from frontserver.api.peers import PeerAddresses
from frontserver.errors import AuthenticationError, InputError
from frontserver.security.principals import Principal
from frontserver.services.agents import AgentService

_PUBLIC_KEY: Final = "public"
# What marks a handler that asks for no credentials, for routing and for OpenAPI.
PUBLIC: Final[dict[str, Any]] = {"opt": {_PUBLIC_KEY: True}, "security": [{}]}


class Authentication(AbstractAuthenticationMiddleware):
    """Puts the caller's `Principal` where `request.user` finds it; raises for a stranger."""

    def __init__(self, app: ASGIApp, *, agents: AgentService, peers: PeerAddresses) -> None:
        super().__init__(app, exclude_from_auth_key=_PUBLIC_KEY)
        self._agents = agents
        self._peers = peers

    async def authenticate_request(
        self, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> AuthenticationResult:
        """The principal of a request. Raises `AuthenticationError` for anything less."""
        fields = connection.headers.getall("authorization", [])
        if not fields:
            raise AuthenticationError(
                "this needs credentials",
                hint="send Authorization: Bearer TOKEN, or Basic with agentId:agentKey",
            )
        try:
            principal = await self._principal(" ".join(fields), connection)
        except (AuthenticationError, InputError, ValueError) as error:
            raise AuthenticationError(
                "these credentials are not valid, or not any more",
                hint="authenticate again: POST /api/agents/authenticate",
            ) from error
        return AuthenticationResult(user=principal, auth=None)

    async def _principal(
        self, header: str, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> Principal:
        scheme, _, credentials = header.strip().partition(" ")
        match scheme.lower():
            case "bearer":
                return await self._agents.principal_from_token(credentials.strip())
            case "basic":
                agent_id, key = _id_and_key(credentials.strip())
                peer = self._peers(connection)
                return await self._agents.principal_from_basic(agent_id, key, peer=peer)
            case _:
                raise AuthenticationError("the scheme is neither Bearer nor Basic")


def _id_and_key(credentials: str) -> tuple[str, str]:
    """Base64 of `agentId:agentKey` in UTF-8 (RFC 7617). Raises `ValueError`."""
    text = base64.b64decode(credentials, validate=True).decode()
    agent_id, separator, key = text.partition(":")
    if not separator:
        raise ValueError("there is no colon between the id and the key")
    return agent_id, key
