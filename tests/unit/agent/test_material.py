"""What is checked of a certificate before it replaces a good one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from frontserver.agent.material import Material, check, new_key, signing_request
from frontserver.errors import CertificateError
from tests.unit.agent.fakes import DAY, DOMAIN, NOW, Authority, key_pem, serial

CA = Authority()
CERT, KEY = CA.issue()


def test_a_good_set_passes() -> None:
    leaf = check(Material(CA.pem, CERT, KEY), DOMAIN.upper(), NOW)
    assert leaf.serial == serial(CERT)
    certificate = x509.load_pem_x509_certificate(CERT.encode())
    assert leaf.fingerprint == certificate.fingerprint(SHA256()).hex()
    assert leaf.renew_at == leaf.not_before + timedelta(days=60)


def test_usages_may_be_absent() -> None:
    cert, key = CA.issue(plain=True)
    assert check(Material(CA.pem, cert, key), DOMAIN, NOW)


def test_any_ca_of_a_bundle_may_have_issued_it() -> None:
    assert check(Material(Authority().pem + CA.pem, CERT, KEY), DOMAIN, NOW)


def test_intermediates_after_the_certificate_lead_to_the_ca() -> None:
    middle = Authority(above=CA)
    cert, key = middle.issue()
    assert check(Material(CA.pem, cert + middle.pem, key), DOMAIN, NOW)
    with pytest.raises(CertificateError, match="wasn't issued by the CA"):
        check(Material(CA.pem, cert, key), DOMAIN, NOW)


def test_an_intermediate_that_is_no_ca_leads_nowhere() -> None:
    middle = Authority(above=CA, is_ca=False)
    cert, key = middle.issue()
    with pytest.raises(CertificateError, match="wasn't issued by the CA"):
        check(Material(CA.pem, cert + middle.pem, key), DOMAIN, NOW)


def test_an_expired_intermediate_or_ca_is_refused() -> None:
    middle = Authority(above=CA, ends=NOW - DAY)
    cert, key = middle.issue()
    with pytest.raises(CertificateError, match="an intermediate certificate expired"):
        check(Material(CA.pem, cert + middle.pem, key), DOMAIN, NOW)
    old = Authority(ends=NOW - DAY)
    cert, key = old.issue()
    with pytest.raises(CertificateError, match="the CA certificate expired"):
        check(Material(old.pem, cert, key), DOMAIN, NOW)


def _bad(**how: object) -> Material:
    cert, key = CA.issue(**how)  # type: ignore[arg-type]
    return Material(CA.pem, cert, key)


def _forged() -> Material:
    """Another CA of the same name."""
    other = Authority()
    other.subject = CA.subject
    cert, key = other.issue()
    return Material(CA.pem, cert, key)


@pytest.mark.parametrize(
    ("material", "reason"),
    [
        (Material(CA.pem, CERT, CA.issue()[1]), "don't belong together"),
        (Material(Authority().pem, CERT, KEY), "wasn't issued by the CA"),
        (_forged(), "wasn't issued by the CA"),
        (_bad(ends=NOW - DAY), "the certificate expired on 2031-04-30"),
        (_bad(begins=NOW + DAY), "isn't valid before 2031-05-02 12:00 UTC .check this host's clo"),
        (_bad(domain="a2.mongodb.example.com"), "is for a2.mongodb.example.com, localhost, not"),
        (_bad(domain=None), "names no host"),
        (_bad(signs=False), "lacks digitalSignature"),
        (_bad(server=False), "no serverAuth"),
        (Material("", CERT, KEY), "the CA can't be read"),
        (Material(CA.pem, "junk", KEY), "the certificate can't be read"),
        (Material(CA.pem, CERT, "junk"), "the key can't be read"),
    ],
)
def test_a_bad_set_is_refused(material: Material, reason: str) -> None:
    with pytest.raises(CertificateError, match=reason):
        check(material, DOMAIN, NOW)


def test_the_combined_pem_parts_its_blocks_by_newlines() -> None:
    text = Material(CA.pem, CERT.strip(), f"\n{KEY.strip()}").key_pem
    assert "-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n" in text
    assert text.endswith("-----END PRIVATE KEY-----\n")


@pytest.mark.parametrize(
    ("kind", "shape"), [("ec", ec.EllipticCurvePrivateKey), ("rsa", rsa.RSAPrivateKey)]
)
def test_a_request_is_signed_by_its_new_key(kind: str, shape: type) -> None:
    key = new_key(kind)
    assert key.startswith("-----BEGIN PRIVATE KEY-----")
    assert isinstance(load_pem_private_key(key.encode(), None), shape)
    request = x509.load_pem_x509_csr(signing_request(key, DOMAIN).encode())
    assert request.is_signature_valid
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [DOMAIN]


def test_a_long_name_is_in_the_san_alone() -> None:
    domain = f"{'a' * 63}.mongodb.example.com"
    request = x509.load_pem_x509_csr(signing_request(new_key("ec"), domain).encode())
    assert list(request.subject) == []


def test_a_request_needs_a_common_kind_of_key() -> None:
    with pytest.raises(CertificateError, match="EC or RSA"):
        signing_request(key_pem(Ed25519PrivateKey.generate()), DOMAIN)  # type: ignore[arg-type]
