"""Sample requests and answers about agents."""

from __future__ import annotations

import msgspec

from frontserver.api.examples.certificates import BUNDLE
from frontserver.api.examples.routes import HTTP_VIEW, MONGO_VIEW
from frontserver.wire.agents import (
    Acknowledgement,
    AgentView,
    AuthenticateAnswer,
    AuthenticateRequest,
    RegisterAnswer,
    RegisterRequest,
    RotateKeyRequest,
)

_KEY = "AGENT_TOKEN"
_JWT = "eyJhbGciOiJFZERTQSIsImtpZCI6IjEifQ.eyJzdWIiOiJzZXJ2ZXJfaWQifQ.c2lnbmF0dXJl"
_EXPIRES = "2030-01-02T03:04:05Z"

REGISTER = {
    "every field": RegisterRequest("server-id", _KEY, "host-7", "203.0.113.7"),
    "shortest": RegisterRequest("server-id", _KEY),
}
REGISTERED = RegisterAnswer(
    message="the agent is registered",
    agent_id="server-id",
    agent_name="host-7",
    target_ip="203.0.113.7",
    token=_JWT,
    expires_at=_EXPIRES,
    tls_enabled=True,
    certificates=BUNDLE,
)
REGISTERED_AGAIN = msgspec.structs.replace(REGISTERED, message="the agent was registered")
AUTHENTICATE = {"key": AuthenticateRequest("server-id", _KEY)}
AUTHENTICATED = AuthenticateAnswer(agent_id="server-id", token=_JWT, expires_at=_EXPIRES)
AGENT = AgentView(
    agent_id="server-id",
    agent_name="host-7",
    target_ip="203.0.113.7",
    created_at="2030-01-01T03:04:05Z",
    updated_at="2030-01-01T03:04:05Z",
    routes=[HTTP_VIEW, MONGO_VIEW],
)
REMOVED = Acknowledgement(message="the agent server-id and its routes are removed")
ROTATE = {"new key": RotateKeyRequest("NEW_AGENT_TOKEN_OF_SOME_LENGTH")}
ROTATED = Acknowledgement(message="the key is replaced; authenticate again with the new one")
