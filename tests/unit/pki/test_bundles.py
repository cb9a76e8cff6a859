"""PEM texts from outside."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from frontserver.errors import CertificateError
from frontserver.pki import pem
from frontserver.pki.authority import CertificateAuthority
from frontserver.pki.bundles import (
    check_key,
    check_server_pem,
    host_names,
    parse_certificates,
    verify_leaf,
)
from frontserver.pki.keys import PrivateKey, load_private
from frontserver.pki.leaf import Leaf, certificate_text, load_certificate
from tests.unit.pki.samples import key_pem, spec

NAMES = ["*.apps.example.com", "apps.example.com", "127.0.0.1"]


@pytest.fixture(scope="session")
def server(ec_ca: CertificateAuthority, now: datetime) -> Leaf:
    return ec_ca.issue_server(NAMES, now=now)


@pytest.fixture
def key(server: Leaf) -> str:
    assert server.key_pem is not None
    return server.key_pem


# -- bundles ----------------------------------------------------------------------------------


def test_every_certificate_of_a_bundle_is_read_in_order(
    rsa_ca: CertificateAuthority, ec_ca: CertificateAuthority
) -> None:
    text = f"old\n{rsa_ca.certificate_pem}\n\nnew\n{ec_ca.certificate_pem}"
    assert parse_certificates(text) == [rsa_ca.certificate, ec_ca.certificate]


def test_a_private_key_among_certificates_is_refused(server: Leaf, key: str) -> None:
    with pytest.raises(CertificateError, match=r"holds a private key.*make a new one"):
        parse_certificates(server.certificate_pem + key)


def test_other_things_among_certificates_are_refused(server: Leaf) -> None:
    strange = str(pem.Block("X509 CRL", b"x"))
    with pytest.raises(CertificateError, match="not: X509 CRL"):
        parse_certificates(server.certificate_pem + strange)


def test_damaged_and_oversized_bundles_are_refused(server: Leaf) -> None:
    with pytest.raises(CertificateError, match="can't be read"):
        parse_certificates(str(pem.Block("CERTIFICATE", b"rubbish")))
    with pytest.raises(CertificateError, match="not PEM"):
        parse_certificates("")
    with pytest.raises(CertificateError, match="longer than 100 characters"):
        parse_certificates(server.certificate_pem, limit=100)


# -- the operator's HTTPS certificate ---------------------------------------------------------


def test_a_good_server_pem_answers_its_names(
    server: Leaf, key: str, ec_ca: CertificateAuthority, now: datetime
) -> None:
    chain = server.certificate_pem + ec_ca.certificate_pem
    for text in (chain + key, key + chain, server.certificate_pem + key + ec_ca.certificate_pem):
        assert check_server_pem(text, now) == tuple(NAMES)


def test_older_forms_of_keys_and_parameter_blocks_are_read(
    server: Leaf, key: str, now: datetime
) -> None:
    older = key_pem(load_private(key.encode()), traditional=True)
    parameters = str(pem.Block("EC PARAMETERS", bytes.fromhex("06082a8648ce3d030107")))
    assert "BEGIN EC PRIVATE KEY" in older
    assert check_server_pem(server.certificate_pem + parameters + older, now)


def test_a_server_pem_needs_a_certificate_and_one_key(
    server: Leaf, key: str, now: datetime
) -> None:
    for text, counts in (
        (server.certificate_pem, "1 certificates and 0 private keys"),
        (key, "0 certificates and 1 private keys"),
        (server.certificate_pem + key + key, "1 certificates and 2 private keys"),
    ):
        with pytest.raises(CertificateError, match=counts):
            check_server_pem(text, now)


def test_the_key_of_another_certificate_is_refused(
    server: Leaf, rsa_key: PrivateKey, now: datetime
) -> None:
    with pytest.raises(CertificateError, match="key of another certificate"):
        check_server_pem(server.certificate_pem + key_pem(rsa_key), now)


def test_a_chain_in_the_wrong_order_is_refused(
    server: Leaf, key: str, ec_ca: CertificateAuthority, now: datetime
) -> None:
    with pytest.raises(CertificateError, match="before its chain"):
        check_server_pem(ec_ca.certificate_pem + server.certificate_pem + key, now)


def test_an_encrypted_key_is_refused_in_both_forms(server: Leaf, key: str, now: datetime) -> None:
    private = load_private(key.encode())
    for traditional in (False, True):
        locked = key_pem(private, password=b"secret", traditional=traditional)
        with pytest.raises(CertificateError, match=r"encrypted.*openssl pkey"):
            check_server_pem(server.certificate_pem + locked, now)


def test_an_unreadable_key_is_refused(server: Leaf, now: datetime) -> None:
    rubbish = str(pem.Block("PRIVATE KEY", b"rubbish"))
    with pytest.raises(CertificateError, match="key can't be read"):
        check_server_pem(server.certificate_pem + rubbish, now)


def test_dates_are_checked(server: Leaf, key: str) -> None:
    text = server.certificate_pem + key
    assert check_server_pem(text, server.not_before)
    assert check_server_pem(text, server.not_after - timedelta(seconds=1))
    with pytest.raises(CertificateError, match="not valid before"):
        check_server_pem(text, server.not_before - timedelta(seconds=1))
    with pytest.raises(CertificateError, match="expired"):
        check_server_pem(text, server.not_after)


def test_a_certificate_without_names_is_refused(ec_ca: CertificateAuthority, now: datetime) -> None:
    text = ec_ca.certificate_pem + ec_ca.key_pem().decode()
    with pytest.raises(CertificateError, match="names no host"):
        check_server_pem(text, now)


def test_an_operators_server_may_use_keys_that_we_would_not_issue(now: datetime) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("x.example")]), critical=False)
        .sign(key, None)
    )
    text = certificate_text(certificate) + key_pem(key)  # type: ignore[arg-type]
    assert check_server_pem(text, now) == ("x.example",)


def test_a_certificate_with_an_unknown_kind_of_key_matches_no_key(
    server: Leaf, key: str, now: datetime
) -> None:
    der = pem.blocks(server.certificate_pem)[0].der
    strange = der.replace(bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2a8648ce3d027f"))
    assert strange != der
    with pytest.raises(CertificateError, match="doesn't belong"):
        check_server_pem(str(pem.Block("CERTIFICATE", strange)) + key, now)


def test_host_names_lists_names_then_addresses(server: Leaf, ec_ca: CertificateAuthority) -> None:
    assert host_names(load_certificate(server.certificate_pem)) == tuple(NAMES)
    assert host_names(ec_ca.certificate) == ()


# -- leaves and their issuers -----------------------------------------------------------------


def test_a_leaf_verifies_against_its_ca_alone_and_in_an_overlapping_bundle(
    rsa_ca: CertificateAuthority, ec_ca: CertificateAuthority, ec_leaf: Leaf, now: datetime
) -> None:
    for bundle in (
        ec_ca.certificate_pem,
        rsa_ca.certificate_pem + ec_ca.certificate_pem,
        ec_ca.certificate_pem + rsa_ca.certificate_pem,
    ):
        verify_leaf(ec_leaf.certificate_pem, bundle, now)


def test_a_leaf_of_another_ca_is_refused(
    rsa_ca: CertificateAuthority, ec_leaf: Leaf, now: datetime
) -> None:
    with pytest.raises(CertificateError, match="isn't issued by"):
        verify_leaf(ec_leaf.certificate_pem, rsa_ca.certificate_pem, now)


def test_a_ca_of_the_same_name_with_another_key_is_refused(now: datetime) -> None:
    real = CertificateAuthority.create("x", key_type="ec", now=now)
    key = ec.generate_private_key(ec.SECP256R1())
    forged = (
        x509.CertificateBuilder()
        .subject_name(real.certificate.subject)
        .issuer_name(real.certificate.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    leaf = real.issue(spec(), now=now)
    with pytest.raises(CertificateError, match="isn't issued by"):
        verify_leaf(leaf.certificate_pem, certificate_text(forged), now)


@pytest.mark.parametrize("constrained", [True, False])
def test_a_leaf_can_not_vouch_for_another(
    constrained: bool, ec_ca: CertificateAuthority, now: datetime
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a1.mongodb.example.com")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    if constrained:
        no_ca = x509.BasicConstraints(ca=False, path_length=None)
        builder = builder.add_extension(no_ca, critical=True)
    text = certificate_text(builder.sign(key, hashes.SHA256()))
    with pytest.raises(CertificateError, match="isn't issued by"):
        verify_leaf(text, text, now)


def test_an_expired_leaf_and_an_expired_ca_are_refused(now: datetime) -> None:
    ca = CertificateAuthority.create("x", key_type="ec", now=now, days=10)
    leaf = ca.issue(spec(days=1), now=now)
    with pytest.raises(CertificateError, match="expired"):
        verify_leaf(leaf.certificate_pem, ca.certificate_pem, now + timedelta(days=2))
    long_lived = CertificateAuthority.create("x", key_type="ec", now=now, days=20)
    outlived = (
        x509.CertificateBuilder()
        .subject_name(ca.certificate.subject)
        .issuer_name(ca.certificate.subject)
        .public_key(long_lived.key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=20))
        .sign(ca.key, hashes.SHA256())
    )
    verify_leaf(certificate_text(outlived), ca.certificate_pem, now + timedelta(days=9))
    with pytest.raises(CertificateError, match="expired"):
        verify_leaf(certificate_text(outlived), ca.certificate_pem, now + timedelta(days=11))


def test_a_key_is_checked_against_its_certificate(
    server: Leaf, key: str, rsa_key: PrivateKey
) -> None:
    check_key(server.certificate_pem, key)
    with pytest.raises(CertificateError, match="doesn't belong"):
        check_key(server.certificate_pem, key_pem(rsa_key))
    with pytest.raises(CertificateError, match="found 2 private keys"):
        check_key(server.certificate_pem, key + key)
