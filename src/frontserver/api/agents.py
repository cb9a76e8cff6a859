"""Registration, authentication, and an agent's own record."""

from __future__ import annotations

from litestar import Controller, Response, delete, get, post
from litestar.datastructures import CacheControlHeader
from litestar.params import JSONBody

from frontserver.api.authentication import PUBLIC
from frontserver.api.dependencies import Agents, Caller, OwnAgent, Peer
from frontserver.api.documentation import answers, described
from frontserver.api.examples import agents as examples
from frontserver.services.views import rfc3339
from frontserver.wire.agents import (
    Acknowledgement,
    AgentView,
    AuthenticateAnswer,
    AuthenticateRequest,
    RegisterAnswer,
    RegisterRequest,
    RotateKeyRequest,
)


class AgentController(Controller):
    """Who an agent is. Its answers hold secrets, so nobody may keep them."""

    tags = ("Agents",)
    cache_control = CacheControlHeader(no_store=True)

    @post(
        ["/api/agents/register", "/api/agent/register"],
        **PUBLIC,
        responses=answers(
            RegisterAnswer,
            {
                201: ("Registered.", examples.REGISTERED),
                200: ("The same agent again, with the same key.", examples.REGISTERED_AGAIN),
            },
            problems=(400, 401, 409, 413, 415, 422, 429, 503),
        ),
        operation_class=described(bodies=examples.REGISTER, legacy="/api/agent/register"),
    )
    async def register_agent(
        self, data: JSONBody[RegisterRequest], agents: Agents, peer: Peer
    ) -> Response[RegisterAnswer]:
        """Bind an agent's id to its key, and give it a token and certificates.

        Who may register is the operator's policy: anyone (`open`), agents with a key that the
        operator has issued (`invite`), or only those that are known already (`closed`).
        """
        done = await agents.register(data, peer=peer)
        body = RegisterAnswer(
            message="the agent is registered" if done.created else "the agent was registered",
            agent_id=done.agent.agent_id,
            agent_name=done.agent.name,
            target_ip=done.agent.target_ip,
            token=done.token,
            expires_at=rfc3339(done.expires_at),
            tls_enabled=True,
            certificates=done.certificates,
        )
        return Response(body, status_code=201 if done.created else 200)

    @post(
        ["/api/agents/authenticate", "/api/agent/authenticate"],
        status_code=200,
        **PUBLIC,
        responses=answers(
            AuthenticateAnswer,
            {200: ("A fresh token.", examples.AUTHENTICATED)},
            problems=(400, 401, 413, 415, 422, 429, 503),
        ),
        operation_class=described(bodies=examples.AUTHENTICATE, legacy="/api/agent/authenticate"),
    )
    async def authenticate_agent(
        self, data: JSONBody[AuthenticateRequest], agents: Agents, peer: Peer
    ) -> AuthenticateAnswer:
        """Exchange an agent's key for a token."""
        issued = await agents.authenticate(data, peer=peer)
        return AuthenticateAnswer(
            agent_id=data.agent_id.lower(),
            token=issued.token,
            expires_at=rfc3339(issued.expires_at),
        )

    @get(
        "/api/agents/{agentId:str}",
        responses=answers(
            AgentView,
            {200: ("The agent and its routes.", examples.AGENT)},
            problems=(401, 403, 404, 422, 503),
        ),
        operation_class=described(),
    )
    async def show_agent(self, own_agent: OwnAgent, agents: Agents) -> AgentView:
        """An agent with its routes."""
        return await agents.show(own_agent)

    @delete(
        "/api/agents/{agentId:str}",
        status_code=200,
        responses=answers(
            Acknowledgement,
            {200: ("Removed.", examples.REMOVED)},
            problems=(401, 403, 404, 422, 503),
        ),
        operation_class=described(),
    )
    async def remove_agent(
        self, own_agent: OwnAgent, principal: Caller, agents: Agents, peer: Peer
    ) -> Acknowledgement:
        """Remove an agent with its routes, and revoke its tokens and certificates."""
        await agents.remove(own_agent, principal, peer=peer)
        return Acknowledgement(message=f"the agent {own_agent} and its routes are removed")

    @post(
        "/api/agents/{agentId:str}/key",
        status_code=200,
        responses=answers(
            Acknowledgement,
            {200: ("Rotated.", examples.ROTATED)},
            problems=(400, 401, 403, 404, 413, 415, 422, 503),
        ),
        operation_class=described(bodies=examples.ROTATE),
    )
    async def rotate_agent_key(
        self,
        own_agent: OwnAgent,
        data: JSONBody[RotateKeyRequest],
        principal: Caller,
        agents: Agents,
        peer: Peer,
    ) -> Acknowledgement:
        """Replace an agent's key, and revoke every token it has."""
        await agents.rotate_key(own_agent, data.agent_key, principal, peer=peer)
        return Acknowledgement(message="the key is replaced; authenticate again with the new one")
