"""Sample inputs for the PKI tests, and a TLS handshake in memory."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from frontserver.pki.keys import PrivateKey
from frontserver.pki.leaf import LeafSpec


def spec(**changes: object) -> LeafSpec:
    """What agent `a1` asks for, with changes."""
    values: dict[str, object] = {
        "installation": "Example Cloud",
        "agent_id": "a1",
        "domain": "a1.mongodb.example.com",
    }
    return LeafSpec(**{**values, **changes})  # type: ignore[arg-type]


def request_pem(key: object, *, common_name: str = "evil.example.com") -> str:
    """A PKCS#10 request that asks for names and CA rights it must not get."""
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(common_name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    algorithm = None if "Ed25519" in type(key).__name__ else hashes.SHA256()
    csr = builder.sign(key, algorithm)  # type: ignore[arg-type]
    return csr.public_bytes(serialization.Encoding.PEM).decode()


def key_pem(key: PrivateKey, *, password: bytes | None = None, traditional: bool = False) -> str:
    """A private key as PKCS#8 or in the older form of its kind."""
    form = serialization.PrivateFormat
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    chosen = form.TraditionalOpenSSL if traditional else form.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, chosen, encryption).decode()


def handshake(
    certificate_pem: str, key: str, *, ca_pem: str, host: str, client: str | None = None
) -> tuple[str, ...]:
    """Do a TLS handshake in memory with full verification; the names the client saw.

    `client` is a PEM of certificate and key that the client shows; the server then demands one
    of the same CA. Raises `ssl.SSLError` where a side refuses.
    """
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client_context = ssl.create_default_context(cadata=ca_pem)
    client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    _load_chain(server_context, certificate_pem + key)
    if client is not None:
        server_context.load_verify_locations(cadata=ca_pem)
        server_context.verify_mode = ssl.CERT_REQUIRED
        _load_chain(client_context, client)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    caller = client_context.wrap_bio(to_client, to_server, server_hostname=host)
    _until_done(caller, server)
    seen = caller.getpeercert()
    assert seen is not None
    return tuple(str(value) for _, value in seen["subjectAltName"])  # type: ignore[misc]


def _load_chain(context: ssl.SSLContext, pem: str) -> None:
    # ssl reads certificates of its own from files only.
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(Path(file.name))


def _until_done(*sides: ssl.SSLObject) -> None:
    waiting = list(sides)
    for _ in range(20):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue
        if not waiting:
            return
    raise AssertionError("the handshake doesn't end")
