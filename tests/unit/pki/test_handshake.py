"""The certificates at work: real TLS handshakes with full verification, in memory."""

from __future__ import annotations

import ssl
from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from frontserver.pki.authority import CertificateAuthority
from frontserver.pki.keys import PrivateKey
from frontserver.pki.leaf import Leaf
from tests.unit.pki.samples import handshake, key_pem, request_pem, spec

Issued = tuple[CertificateAuthority, Leaf]


def meet(ca: CertificateAuthority, leaf: Leaf, host: str, **more: str) -> tuple[str, ...]:
    assert leaf.key_pem is not None
    return handshake(
        leaf.certificate_pem, leaf.key_pem, ca_pem=ca.certificate_pem, host=host, **more
    )


@pytest.mark.parametrize("host", ["a1.mongodb.example.com", "localhost", "127.0.0.1"])
def test_a_client_that_trusts_the_ca_accepts_every_name(issued: Issued, host: str) -> None:
    assert "a1.mongodb.example.com" in meet(*issued, host=host)


@pytest.mark.parametrize("host", ["a2.mongodb.example.com", "mongodb.example.com", "127.0.0.2"])
def test_a_client_refuses_another_name(issued: Issued, host: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
        meet(*issued, host=host)


def test_a_client_that_trusts_another_ca_refuses(
    rsa_ca: CertificateAuthority, ec_leaf: Leaf
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        meet(rsa_ca, ec_leaf, "a1.mongodb.example.com")


def test_a_client_refuses_an_expired_leaf(now: datetime) -> None:
    then = now - timedelta(days=30)
    ca = CertificateAuthority.create("x", key_type="ec", now=then)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        meet(ca, ca.issue(spec(days=1), now=then), "a1.mongodb.example.com")


def test_a_bundle_of_two_cas_accepts_leaves_of_both(
    rsa_ca: CertificateAuthority, rsa_leaf: Leaf, ec_ca: CertificateAuthority, ec_leaf: Leaf
) -> None:
    bundle = rsa_ca.certificate_pem + ec_ca.certificate_pem
    for leaf in (rsa_leaf, ec_leaf):
        assert leaf.key_pem is not None
        assert handshake(leaf.certificate_pem, leaf.key_pem, ca_pem=bundle, host="localhost")


def test_a_signed_request_works_with_the_key_that_stayed_at_home(
    ca: CertificateAuthority, rsa_key: PrivateKey, now: datetime
) -> None:
    for key in (rsa_key, ec.generate_private_key(ec.SECP256R1())):
        leaf = ca.sign(request_pem(key), spec(), now)
        names = handshake(
            leaf.certificate_pem, key_pem(key), ca_pem=ca.certificate_pem, host="localhost"
        )
        assert names == ("a1.mongodb.example.com", "localhost", "127.0.0.1")
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(
                leaf.certificate_pem,
                key_pem(key),
                ca_pem=ca.certificate_pem,
                host="evil.example.com",
            )


def test_a_long_domain_without_cn_verifies(ec_ca: CertificateAuthority, now: datetime) -> None:
    domain = f"{'a' * 40}.{'b' * 40}.example.com"
    leaf = ec_ca.issue(spec(domain=domain), now=now)
    assert meet(ec_ca, leaf, domain)


def test_a_wildcard_serves_one_level_of_names(ca: CertificateAuthority, now: datetime) -> None:
    leaf = ca.issue_server(["*.apps.example.com"], now=now)
    assert meet(ca, leaf, "shop.apps.example.com")
    with pytest.raises(ssl.SSLCertVerificationError):
        meet(ca, leaf, "a.shop.apps.example.com")


def test_members_of_a_replica_set_accept_each_other_as_clients(
    ec_ca: CertificateAuthority, now: datetime
) -> None:
    member = ec_ca.issue(spec(replica_set=True), now=now)
    assert meet(ec_ca, member, "localhost", client=f"{member.certificate_pem}{member.key_pem}")


def test_a_plain_leaf_is_refused_as_a_client(
    ec_ca: CertificateAuthority, ec_leaf: Leaf, now: datetime
) -> None:
    member = ec_ca.issue(spec(replica_set=True), now=now)
    stranger = f"{ec_leaf.certificate_pem}{ec_leaf.key_pem}"
    with pytest.raises(ssl.SSLError, match="unsuitable certificate purpose"):
        meet(ec_ca, member, "localhost", client=stranger)
