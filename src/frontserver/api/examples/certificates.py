"""Sample requests and answers about certificates. The PEM texts are cut short."""

from __future__ import annotations

import msgspec

from frontserver.wire.certificates import (
    AgentConfig,
    CertificateAnswer,
    CertificateBundle,
    Domains,
    MongoConfig,
    MongoNet,
    MongoNetTls,
    SigningRequest,
)


def _pem(label: str) -> str:
    return f"-----BEGIN {label}-----\nMII...\n-----END {label}-----\n"


CA = _pem("CERTIFICATE")
BUNDLE = CertificateBundle(
    ca=CA,
    cert=_pem("CERTIFICATE"),
    key=_pem("PRIVATE KEY"),
    ca_cert=CA,
    server_cert=_pem("CERTIFICATE"),
    server_key=_pem("PRIVATE KEY"),
    not_before="2030-01-01T00:00:00Z",
    not_after="2030-04-01T00:00:00Z",
    serial="4f1c2a",
    fingerprint="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
)
CONFIG = AgentConfig(
    agent_id="server-id",
    domains=Domains(app="apps.example.com", mongodb="server-id.mongodb.example.com"),
    certificates=BUNDLE,
    mongodb=MongoConfig(
        net=MongoNet(
            tls=MongoNetTls(
                certificate_key_file="/etc/ssl/frontserver/mongodb.pem",
                ca_file="/etc/ssl/frontserver/ca.crt",
            )
        )
    ),
)
CERTIFICATE = CertificateAnswer(agent_id="server-id", certificates=BUNDLE)
SIGN = {"PKCS#10": SigningRequest(_pem("CERTIFICATE REQUEST"))}
SIGNED = CertificateAnswer(
    agent_id="server-id",
    certificates=msgspec.structs.replace(BUNDLE, key=None, server_key=None),
)
