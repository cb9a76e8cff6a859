"""Authorities and keys, made once a session: RSA keys are slow to make."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from frontserver.pki.authority import CertificateAuthority
from frontserver.pki.keys import PrivateKey
from frontserver.pki.leaf import Leaf
from tests.unit.pki.samples import spec


@pytest.fixture(scope="session")
def now() -> datetime:
    """The real time, since OpenSSL knows no other; without microseconds, like X.509."""
    return datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="session")
def rsa_ca(now: datetime) -> CertificateAuthority:
    return CertificateAuthority.create("Example Cloud", key_type="rsa", now=now)


@pytest.fixture(scope="session")
def ec_ca(now: datetime) -> CertificateAuthority:
    return CertificateAuthority.create("Example Cloud", key_type="ec", now=now)


@pytest.fixture(params=["rsa", "ec"])
def ca(request: pytest.FixtureRequest) -> CertificateAuthority:
    authority: CertificateAuthority = request.getfixturevalue(f"{request.param}_ca")
    return authority


@pytest.fixture(scope="session")
def rsa_key() -> PrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def weak_rsa_key() -> PrivateKey:
    return rsa.generate_private_key(65537, 1024)  # noqa: S505 - weak on purpose


@pytest.fixture(scope="session")
def rsa_leaf(rsa_ca: CertificateAuthority, now: datetime) -> Leaf:
    return rsa_ca.issue(spec(key_type="rsa"), now=now)


@pytest.fixture(scope="session")
def ec_leaf(ec_ca: CertificateAuthority, now: datetime) -> Leaf:
    return ec_ca.issue(spec(), now=now)


@pytest.fixture(params=["rsa", "ec"])
def issued(request: pytest.FixtureRequest) -> tuple[CertificateAuthority, Leaf]:
    """A leaf and the authority that issued it, of one key type each."""
    names = (f"{request.param}_ca", f"{request.param}_leaf")
    authority, leaf = (request.getfixturevalue(name) for name in names)
    return authority, leaf
