"""The certificate authority: what it is, what it issues, what it refuses to sign."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from frontserver.errors import CertificateError, InputError
from frontserver.pki import keys, pem
from frontserver.pki.authority import CertificateAuthority
from frontserver.pki.leaf import Leaf, load_certificate
from tests.unit.pki.samples import key_pem, request_pem, spec

Issued = tuple[CertificateAuthority, Leaf]


def extension(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> x509.Extension:  # type: ignore[type-arg]
    return certificate.extensions.get_extension_for_class(kind)


def usages(certificate: x509.Certificate) -> set[str]:
    value = extension(certificate, x509.KeyUsage).value
    return {
        name
        for name in (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
        )
        if getattr(value, name)
    }


def purposes(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(extension(certificate, x509.ExtendedKeyUsage).value)


# -- the authority itself ---------------------------------------------------------------------


def test_a_ca_may_issue_leaves_and_crls_and_no_ca(ca: CertificateAuthority) -> None:
    constraints = extension(ca.certificate, x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    assert extension(ca.certificate, x509.KeyUsage).critical
    assert usages(ca.certificate) == {"key_cert_sign", "crl_sign"}


def test_a_ca_is_self_signed_and_has_a_key_id(ca: CertificateAuthority) -> None:
    ca.certificate.verify_directly_issued_by(ca.certificate)
    expected = x509.SubjectKeyIdentifier.from_public_key(ca.key.public_key())
    assert extension(ca.certificate, x509.SubjectKeyIdentifier).value == expected


def test_a_ca_key_is_rsa_3072_or_p256(
    rsa_ca: CertificateAuthority, ec_ca: CertificateAuthority
) -> None:
    assert isinstance(rsa_ca.key, rsa.RSAPrivateKey)
    assert rsa_ca.key.key_size == 3072
    assert isinstance(ec_ca.key, ec.EllipticCurvePrivateKey)
    assert ec_ca.key.curve.name == "secp256r1"


def test_a_ca_lives_for_the_days_it_was_given(now: datetime) -> None:
    ca = CertificateAuthority.create("x", key_type="ec", now=now, days=10)
    assert ca.certificate.not_valid_before_utc < now
    assert ca.certificate.not_valid_after_utc == now + timedelta(days=10)


def test_two_cas_of_one_installation_have_different_names(now: datetime) -> None:
    one, other = (CertificateAuthority.create("x", key_type="ec", now=now) for _ in range(2))
    assert one.certificate.subject != other.certificate.subject
    assert "O=x" in one.certificate.subject.rfc4514_string()


@pytest.mark.parametrize("name", ["x" * 64, "Ä" * 64, "a,b=c+d"])
def test_any_printable_installation_name_fits(name: str, now: datetime) -> None:
    ca = CertificateAuthority.create(name, key_type="ec", now=now)
    found = ca.certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    assert [name] == [attribute.value for attribute in found]


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "a\0"])
def test_other_installation_names_are_refused(name: str, now: datetime) -> None:
    with pytest.raises(CertificateError, match="1 to 64 printable"):
        CertificateAuthority.create(name, key_type="ec", now=now)


def test_a_ca_survives_being_stored(ca: CertificateAuthority, now: datetime) -> None:
    again = CertificateAuthority.from_pem(ca.certificate_pem, ca.key_pem())
    assert again.certificate == ca.certificate
    leaf = again.issue(spec(), now=now)
    load_certificate(leaf.certificate_pem).verify_directly_issued_by(ca.certificate)


def test_a_key_of_another_ca_is_refused(
    rsa_ca: CertificateAuthority, ec_ca: CertificateAuthority
) -> None:
    with pytest.raises(CertificateError, match="doesn't belong"):
        CertificateAuthority.from_pem(rsa_ca.certificate_pem, ec_ca.key_pem())


def test_a_leaf_is_no_ca(ec_leaf: Leaf) -> None:
    assert ec_leaf.key_pem is not None
    with pytest.raises(CertificateError, match="no CA"):
        CertificateAuthority.from_pem(ec_leaf.certificate_pem, ec_leaf.key_pem.encode())


def test_a_certificate_without_constraints_is_no_ca(now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "plain")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    with pytest.raises(CertificateError, match="no CA"):
        CertificateAuthority(certificate, key)


def test_a_ca_does_not_show_its_key(ec_ca: CertificateAuthority) -> None:
    assert "PRIVATE" not in repr(ec_ca)
    assert "Example Cloud" in repr(ec_ca)


# -- leaves -----------------------------------------------------------------------------------


def test_the_subject_is_installation_agent_and_domain(issued: Issued) -> None:
    certificate = load_certificate(issued[1].certificate_pem)
    assert [(attribute.oid, attribute.value) for attribute in certificate.subject] == [
        (NameOID.ORGANIZATION_NAME, "Example Cloud"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "a1"),
        (NameOID.COMMON_NAME, "a1.mongodb.example.com"),
    ]


def test_two_agents_never_share_their_subject_unit(
    ec_ca: CertificateAuthority, now: datetime
) -> None:
    """mongod takes equal O and OU for members of one cluster."""
    subjects = {
        load_certificate(ec_ca.issue(spec(agent_id=agent), now=now).certificate_pem)
        .subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)[0]
        .value
        for agent in ("a1", "a2")
    }
    assert subjects == {"a1", "a2"}


def test_a_domain_too_long_for_cn_is_in_the_sans_only(
    ec_ca: CertificateAuthority, now: datetime
) -> None:
    domain = f"{'a' * 40}.{'b' * 40}.example.com"
    leaf = load_certificate(ec_ca.issue(spec(domain=domain), now=now).certificate_pem)
    assert leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME) == []
    sans = extension(leaf, x509.SubjectAlternativeName).value
    assert domain in sans.get_values_for_type(x509.DNSName)


def test_a_domain_of_64_characters_is_still_cn(ec_ca: CertificateAuthority, now: datetime) -> None:
    domain = "a" * 52 + ".example.com"
    leaf = load_certificate(ec_ca.issue(spec(domain=domain), now=now).certificate_pem)
    assert leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == domain


def test_the_names_are_domain_extras_localhost_and_addresses(
    ec_ca: CertificateAuthority, now: datetime
) -> None:
    asked = spec(
        extra_domains=("0.a1.mongodb.example.com", "LOCALHOST"),
        addresses=("203.0.113.7", "2001:db8::7", "127.0.0.1"),
    )
    leaf = load_certificate(ec_ca.issue(asked, now=now).certificate_pem)
    sans = extension(leaf, x509.SubjectAlternativeName)
    assert not sans.critical
    assert [
        x509.DNSName("a1.mongodb.example.com"),
        x509.DNSName("0.a1.mongodb.example.com"),
        x509.DNSName("localhost"),
        x509.IPAddress(ip_address("127.0.0.1")),
        x509.IPAddress(ip_address("203.0.113.7")),
        x509.IPAddress(ip_address("2001:db8::7")),
    ] == list(sans.value)


def test_a_leaf_is_not_a_ca(issued: Issued) -> None:
    constraints = extension(load_certificate(issued[1].certificate_pem), x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=False, path_length=None)


def test_key_usage_follows_the_key_and_is_critical(rsa_leaf: Leaf, ec_leaf: Leaf) -> None:
    rsa_certificate = load_certificate(rsa_leaf.certificate_pem)
    ec_certificate = load_certificate(ec_leaf.certificate_pem)
    assert usages(rsa_certificate) == {"digital_signature", "key_encipherment"}
    assert usages(ec_certificate) == {"digital_signature"}
    assert extension(rsa_certificate, x509.KeyUsage).critical
    assert extension(ec_certificate, x509.KeyUsage).critical


@pytest.mark.parametrize(
    ("replica_set", "expected"),
    [
        (False, [ExtendedKeyUsageOID.SERVER_AUTH]),
        (True, [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
    ],
)
def test_only_members_of_a_replica_set_may_be_clients(
    replica_set: bool,
    expected: list[x509.ObjectIdentifier],
    ec_ca: CertificateAuthority,
    now: datetime,
) -> None:
    leaf = ec_ca.issue(spec(replica_set=replica_set), now=now)
    assert expected == purposes(load_certificate(leaf.certificate_pem))


def test_the_key_ids_link_a_leaf_to_its_ca(issued: Issued) -> None:
    ca, leaf = issued
    certificate = load_certificate(leaf.certificate_pem)
    authority = extension(certificate, x509.AuthorityKeyIdentifier).value
    own = extension(certificate, x509.SubjectKeyIdentifier).value
    assert (
        authority.key_identifier
        == ca.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    )
    assert own == x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
    certificate.verify_directly_issued_by(ca.certificate)


def test_serials_are_random_and_positive(ec_ca: CertificateAuthority, now: datetime) -> None:
    serials = {int(ec_ca.issue(spec(), now=now).serial, 16) for _ in range(20)}
    assert len(serials) == 20
    assert max(serials).bit_length() >= 128
    assert max(serials).bit_length() <= 159  # RFC 5280 section 4.1.2.2: at most 20 octets.


def test_the_key_is_pkcs8_and_the_certificates_own(issued: Issued) -> None:
    leaf = issued[1]
    assert leaf.key_pem is not None
    assert leaf.key_pem.startswith("-----BEGIN PRIVATE KEY-----\n")
    key = keys.load_private(leaf.key_pem.encode())
    assert keys.same(key.public_key(), load_certificate(leaf.certificate_pem).public_key())


def test_rsa_leaves_have_2048_bits(rsa_leaf: Leaf) -> None:
    key = load_certificate(rsa_leaf.certificate_pem).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 2048


def test_the_pem_texts_are_normalised(issued: Issued) -> None:
    leaf = issued[1]
    assert leaf.key_pem is not None
    for text in (leaf.certificate_pem, leaf.key_pem, issued[0].certificate_pem):
        assert text == pem.normalised(text)


def test_a_leaf_lives_90_days_and_starts_a_little_earlier(ec_leaf: Leaf, now: datetime) -> None:
    assert ec_leaf.not_after == now + timedelta(days=90)
    assert timedelta(minutes=1) <= now - ec_leaf.not_before <= timedelta(hours=1)


def test_a_leaf_is_never_valid_outside_its_cas_life(now: datetime) -> None:
    ca = CertificateAuthority.create("x", key_type="ec", now=now, days=10)
    leaf = ca.issue(spec(), now=now + timedelta(days=5))
    assert leaf.not_after == ca.certificate.not_valid_after_utc
    early = ca.issue(spec(), now=ca.certificate.not_valid_before_utc)
    assert early.not_before == ca.certificate.not_valid_before_utc


@pytest.mark.parametrize("days", [-1, 10, 11])
def test_a_ca_issues_nothing_outside_its_life(days: int, now: datetime) -> None:
    ca = CertificateAuthority.create("x", key_type="ec", now=now, days=10)
    with pytest.raises(CertificateError, match=r"can't issue now.*rotate the CA"):
        ca.issue(spec(), now=now + timedelta(days=days))


def test_a_clock_with_microseconds_is_fine(ec_ca: CertificateAuthority) -> None:
    leaf = ec_ca.issue(spec(), now=datetime.now(UTC).replace(microsecond=999_999))
    assert leaf.not_after == load_certificate(leaf.certificate_pem).not_valid_after_utc


# -- signing requests -------------------------------------------------------------------------


def test_a_request_gives_the_key_and_nothing_else(
    ca: CertificateAuthority, rsa_key: keys.PrivateKey, now: datetime
) -> None:
    leaf = ca.sign(request_pem(rsa_key), spec(key_type="ec"), now)
    certificate = load_certificate(leaf.certificate_pem)
    assert leaf.key_pem is None
    assert keys.same(certificate.public_key(), rsa_key.public_key())
    assert usages(certificate) == {"digital_signature", "key_encipherment"}
    assert not extension(certificate, x509.BasicConstraints).value.ca
    assert b"evil" not in certificate.public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_requests_with_good_curves_are_signed(
    curve: ec.EllipticCurve, ec_ca: CertificateAuthority, now: datetime
) -> None:
    key = ec.generate_private_key(curve)
    leaf = ec_ca.sign(request_pem(key), spec(), now)
    certificate = load_certificate(leaf.certificate_pem)
    assert keys.same(certificate.public_key(), key.public_key())
    assert usages(certificate) == {"digital_signature"}


def test_requests_with_weak_keys_are_refused(
    ec_ca: CertificateAuthority, weak_rsa_key: keys.PrivateKey, now: datetime
) -> None:
    weak = [
        weak_rsa_key,
        ec.generate_private_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate(),
    ]
    for key in weak:
        with pytest.raises(CertificateError, match=r"refused.*P-256"):
            ec_ca.sign(request_pem(key), spec(), now)


def test_a_request_that_its_key_did_not_sign_is_refused(
    ec_ca: CertificateAuthority, now: datetime
) -> None:
    """The proof of possession: a stranger's public key gets no certificate."""
    text = request_pem(ec.generate_private_key(ec.SECP256R1()))
    der = bytearray(pem.blocks(text)[0].der)
    der[-1] ^= 1
    with pytest.raises(CertificateError, match="isn't signed by the key"):
        ec_ca.sign(str(pem.Block("CERTIFICATE REQUEST", bytes(der))), spec(), now)


def test_a_request_in_the_older_form_is_read(ec_ca: CertificateAuthority, now: datetime) -> None:
    text = request_pem(ec.generate_private_key(ec.SECP256R1()))
    assert ec_ca.sign(text.replace("CERTIFICATE REQ", "NEW CERTIFICATE REQ"), spec(), now)


def test_what_is_no_single_request_is_refused(
    ec_ca: CertificateAuthority, ec_leaf: Leaf, now: datetime
) -> None:
    text = request_pem(ec.generate_private_key(ec.SECP256R1()))
    for wrong in (ec_leaf.certificate_pem, text + text):
        with pytest.raises(CertificateError, match="exactly one PKCS#10"):
            ec_ca.sign(wrong, spec(), now)


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_a_damaged_request_is_refused(cut: int, ec_ca: CertificateAuthority, now: datetime) -> None:
    der = pem.blocks(request_pem(ec.generate_private_key(ec.SECP256R1())))[0].der
    with pytest.raises(CertificateError, match="can't be read"):
        ec_ca.sign(str(pem.Block("CERTIFICATE REQUEST", der[:-cut])), spec(), now)


def test_a_request_of_an_unknown_algorithm_is_refused(
    ec_ca: CertificateAuthority, now: datetime
) -> None:
    der = pem.blocks(request_pem(ec.generate_private_key(ec.SECP256R1())))[0].der
    ec_public_key = bytes.fromhex("2a8648ce3d0201")
    assert ec_public_key in der
    strange = der.replace(ec_public_key, ec_public_key[:-1] + b"\x7f")
    with pytest.raises(CertificateError, match="can't be read"):
        ec_ca.sign(str(pem.Block("CERTIFICATE REQUEST", strange)), spec(), now)


def test_an_oversized_request_is_refused_before_it_is_parsed(
    ec_ca: CertificateAuthority, now: datetime
) -> None:
    with pytest.raises(CertificateError, match="longer than"):
        ec_ca.sign("-" * 20_000, spec(), now)


# -- the demo's HTTPS certificate -------------------------------------------------------------


def test_a_server_certificate_names_hosts_wildcards_and_addresses(
    ca: CertificateAuthority, now: datetime
) -> None:
    names = ["*.apps.example.com", "apps.example.com", "127.0.0.1", "apps.example.com"]
    leaf = ca.issue_server(names, now=now, days=30)
    certificate = load_certificate(leaf.certificate_pem)
    sans = extension(certificate, x509.SubjectAlternativeName).value
    assert sans.get_values_for_type(x509.DNSName) == ["*.apps.example.com", "apps.example.com"]
    assert sans.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1")]
    assert purposes(certificate) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert leaf.not_after == now + timedelta(days=30)
    assert certificate.subject.rfc4514_string() == "CN=*.apps.example.com,O=Example Cloud"


def test_a_server_certificate_of_a_ca_without_organisation_gets_one(now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Root")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    ca = CertificateAuthority.from_pem(
        certificate.public_bytes(serialization.Encoding.PEM).decode(), key_pem(key).encode()
    )
    leaf = load_certificate(ca.issue_server(["a.example.com"], now=now).certificate_pem)
    assert leaf.subject.rfc4514_string() == "CN=a.example.com,O=frontserver"


def test_a_server_certificate_needs_valid_names(ec_ca: CertificateAuthority, now: datetime) -> None:
    with pytest.raises(CertificateError, match="needs a name"):
        ec_ca.issue_server([], now=now)
    for name in ("*", "*.*.example.com", "a b", "x\n.example.com"):
        with pytest.raises(InputError):
            ec_ca.issue_server([name], now=now)
