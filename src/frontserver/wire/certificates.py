"""Certificates and the configuration an agent fetches, on the wire."""

from __future__ import annotations

import msgspec

# Where agents keep their certificates, and under which names; the server's mongod
# configuration points there.
DEFAULT_CERT_DIR = "/etc/ssl/frontserver"
MONGODB_PEM = "mongodb.pem"
CA_FILE = "ca.crt"
CERT_FILE = "server.crt"
KEY_FILE = "server.key"


class CertificateBundle(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """PEM texts under both generations of names; times RFC 3339, fingerprint SHA-256 in hex."""

    ca: str
    cert: str
    key: str | None
    ca_cert: str
    server_cert: str
    server_key: str | None
    not_before: str
    not_after: str
    serial: str
    fingerprint: str


class MongoNetTls(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """mongod's `net.tls` section; paths are where the agent program puts the files."""

    mode: str = "requireTLS"
    certificate_key_file: str
    ca_file: str = msgspec.field(name="CAFile")
    allow_connections_without_certificates: bool = True


class MongoNet(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """mongod's `net` section, as far as the front server has a say in it."""

    port: int = 27017
    tls: MongoNetTls


class MongoConfig(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """What to merge into mongod.conf."""

    net: MongoNet


class Domains(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """`app` is the domain that subdomains live below, `mongodb` the agent's own name."""

    app: str
    mongodb: str


class AgentConfig(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """GET /api/config/{agentId}."""

    success: bool = True
    agent_id: str
    domains: Domains
    certificates: CertificateBundle
    mongodb: MongoConfig


class CertificateAnswer(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """GET /api/certificates/agent/{agentId} and the answer to a CSR (`key` is null there)."""

    success: bool = True
    agent_id: str
    certificates: CertificateBundle


class SigningRequest(msgspec.Struct, rename="camel", frozen=True):
    """POST /api/certificates/agent/{agentId}/csr: a PKCS#10 request in PEM (RFC 2986)."""

    csr: str
