"""Certificates, and the configuration that an agent fetches."""

from __future__ import annotations

from litestar import Controller, MediaType, Response, get, post
from litestar.datastructures import CacheControlHeader
from litestar.params import JSONBody

from frontserver.api.authentication import PUBLIC
from frontserver.api.dependencies import Certificates, OwnAgent
from frontserver.api.documentation import answers, described
from frontserver.api.examples import certificates as examples
from frontserver.wire.certificates import AgentConfig, CertificateAnswer, SigningRequest

# What file suffix .pem is served as; OpenSSL's and browsers' usual name for it.
PEM = "application/x-pem-file"


class CertificateController(Controller):
    """Keys and certificates. Its answers hold secrets, so nobody may keep them."""

    tags = ("Certificates",)
    cache_control = CacheControlHeader(no_store=True)

    @get(
        "/api/config/{agentId:str}",
        responses=answers(
            AgentConfig,
            {200: ("Domains, certificates and mongod's settings.", examples.CONFIG)},
            problems=(401, 403, 404, 422, 503),
        ),
        operation_class=described(),
    )
    async def fetch_config(self, own_agent: OwnAgent, certificates: Certificates) -> AgentConfig:
        """All that an agent needs to set up TLS; the same certificate until it is due."""
        return await certificates.config(own_agent)

    @get(
        "/api/certificates/mongodb-ca",
        media_type=PEM,
        cache_control=CacheControlHeader(no_cache=True),
        **PUBLIC,
        responses=answers(
            str,
            {200: ("One certificate, or several while a rotation overlaps.", examples.CA)},
            problems=(503,),
            media_type=PEM,
        ),
        operation_class=described(),
    )
    async def fetch_ca(self, certificates: Certificates) -> Response[str]:
        """The CA that clients of MongoDB routes verify against, as PEM."""
        return Response(await certificates.ca_pem(), media_type=PEM)

    @get(
        "/api/certificates/agent/{agentId:str}",
        media_type=MediaType.JSON,
        responses=answers(
            CertificateAnswer,
            {200: ("The agent's certificate and key.", examples.CERTIFICATE)},
            problems=(401, 403, 404, 422, 503),
        ),
        operation_class=described(),
    )
    async def fetch_certificate_legacy(
        self, own_agent: OwnAgent, certificates: Certificates
    ) -> CertificateAnswer:
        """The certificates alone; newer agents read them from their configuration."""
        bundle = await certificates.bundle(own_agent)
        return CertificateAnswer(agent_id=own_agent, certificates=bundle)

    @post(
        "/api/certificates/agent/{agentId:str}/csr",
        status_code=200,
        responses=answers(
            CertificateAnswer,
            {200: ("The certificate; `key` is null: it never left the agent.", examples.SIGNED)},
            problems=(400, 401, 403, 404, 413, 415, 422, 503),
        ),
        operation_class=described(bodies=examples.SIGN),
    )
    async def sign_certificate(
        self, own_agent: OwnAgent, data: JSONBody[SigningRequest], certificates: Certificates
    ) -> CertificateAnswer:
        """Sign a certificate request (PKCS#10), so that the key stays where it was made."""
        bundle = await certificates.sign(own_agent, data.csr)
        return CertificateAnswer(agent_id=own_agent, certificates=bundle)
