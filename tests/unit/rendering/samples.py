"""Whole configurations, rendered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from frontserver.planning.compiled import CompiledConfig
from frontserver.planning.diff import diff
from frontserver.planning.layout import Layout, PoolPolicy
from frontserver.planning.plan import lay_out, plan
from frontserver.rendering.render import Renderer
from frontserver.rendering.templates import Templates

NO_SPARE = PoolPolicy((), spare=0)


def laid_out(config: CompiledConfig, policy: PoolPolicy = NO_SPARE) -> Layout:
    """Every route on a slot."""
    changes = diff(CompiledConfig(config.frontends), config)
    return lay_out(Layout(), plan(changes, Layout()).deferred, policy)


def rendered(
    config: CompiledConfig, policy: PoolPolicy = NO_SPARE, renderer: Renderer | None = None
) -> dict[str, str]:
    """All files of a configuration as a first start would load it."""
    layout = laid_out(config, policy)
    made = renderer or Renderer(Templates())
    return made.everything(config, layout, generation="000001")


def server_pem() -> str:
    """A self-signed certificate and its key, as a listener loads them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "apps.example.com")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem.decode()
