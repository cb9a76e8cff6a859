"""The installation's certificate authority: makes itself, issues leaves, signs requests."""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Self

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from frontserver.errors import CertificateError
from frontserver.model.names import DomainName
from frontserver.pki import keys, pem
from frontserver.pki.leaf import (
    NAME_LIMIT,
    Leaf,
    LeafSpec,
    certificate_text,
    check_organisation,
    describe,
    load_certificate,
)

# So that a certificate is valid at once on a host whose clock is a little behind.
_CLOCK_SKEW = timedelta(minutes=10)
_CA_RSA_BITS = 3072
_LEAF_RSA_BITS = 2048
_CSR_LIMIT = 16 * 1024


class CertificateAuthority(msgspec.Struct, frozen=True, eq=False):
    """A root certificate and its key. Every method that issues takes the time as `now` (aware).

    Making RSA keys and certificates is work for the processor: call it in a thread.
    """

    certificate: x509.Certificate
    key: keys.PrivateKey

    def __post_init__(self) -> None:
        if not _is_authority(self.certificate):
            raise CertificateError("this certificate may not issue certificates: it is no CA")
        if not keys.same(keys.strong(self.certificate.public_key()), self.key.public_key()):
            raise CertificateError("the CA's key doesn't belong to its certificate")

    def __repr__(self) -> str:
        return f"CertificateAuthority({self.certificate.subject.rfc4514_string()!r})"

    @classmethod
    def create(
        cls, installation: str, *, key_type: keys.KeyType, now: datetime, days: int = 3650
    ) -> Self:
        """A new self-signed CA: EC P-256 or RSA 3072, no intermediate CAs below it.

        Its CN ends in a part of its key's id, so that two CAs of a rotation can be told apart.
        """
        check_organisation(installation)
        key = keys.generate(key_type, rsa_bits=_CA_RSA_BITS)
        ski = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        suffix = f" CA {ski.digest[:4].hex()}"
        name = _name(
            (NameOID.ORGANIZATION_NAME, installation),
            (NameOID.COMMON_NAME, _cut(installation, NAME_LIMIT - len(suffix)) + suffix),
        )
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCK_SKEW)
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .add_extension(ski, critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def from_pem(cls, certificate_pem: str, key_pem: bytes) -> Self:
        """The CA that was stored. Raises `CertificateError` if the two don't belong together."""
        return cls(load_certificate(certificate_pem), keys.load_private(key_pem))

    @property
    def certificate_pem(self) -> str:
        """The CA's certificate, which clients and mongod trust."""
        return certificate_text(self.certificate)

    def key_pem(self) -> bytes:
        """The CA's key as PKCS#8, in the clear: seal it before it is stored."""
        return keys.pkcs8(self.key)

    def issue(self, spec: LeafSpec, *, now: datetime) -> Leaf:
        """A new key and its certificate."""
        key = keys.generate(spec.key_type, rsa_bits=_LEAF_RSA_BITS)
        return describe(self._agent_certificate(spec, key.public_key(), now), key)

    def sign(self, csr_pem: str, spec: LeafSpec, now: datetime) -> Leaf:
        """A certificate for the public key of a request (RFC 2986), and for nothing else in it.

        Names, usages and life come from `spec`. Raises `CertificateError` if the request can't
        be read, its key is weak, or it isn't signed by that key (proof of possession).
        """
        return describe(self._agent_certificate(spec, _requested_key(csr_pem), now))

    def issue_server(
        self, names: list[str], *, now: datetime, days: int = 90, key_type: keys.KeyType = "ec"
    ) -> Leaf:
        """A server certificate for `names`: host names, `*.` wildcards and IP addresses.

        For HTTPS without an operator's certificate. Its subject has no OU, so it is never
        taken for an agent's.
        """
        if not names:
            raise CertificateError("a server certificate needs a name")
        checked = tuple(dict.fromkeys(_server_name(name) for name in names))
        key = keys.generate(key_type, rsa_bits=_LEAF_RSA_BITS)
        certificate = self._certify(
            key.public_key(),
            subject=_subject(_organisation(self.certificate), None, checked[0]),
            names=checked,
            usages=[ExtendedKeyUsageOID.SERVER_AUTH],
            now=now,
            days=days,
        )
        return describe(certificate, key)

    def _agent_certificate(
        self, spec: LeafSpec, public_key: keys.PublicKey, now: datetime
    ) -> x509.Certificate:
        usages = [ExtendedKeyUsageOID.SERVER_AUTH]
        if spec.replica_set:
            # Members log in to each other; elsewhere a server's certificate must not be a client's.
            usages.append(ExtendedKeyUsageOID.CLIENT_AUTH)
        return self._certify(
            public_key,
            subject=_subject(spec.installation, spec.agent_id, spec.domain),
            names=spec.names,
            usages=usages,
            now=now,
            days=spec.days,
        )

    def _certify(
        self,
        public_key: keys.PublicKey,
        *,
        subject: x509.Name,
        names: tuple[str, ...],
        usages: list[x509.ObjectIdentifier],
        now: datetime,
        days: int,
    ) -> x509.Certificate:
        not_before, not_after = self._life(now, days)
        is_rsa = isinstance(public_key, rsa.RSAPublicKey)
        own_id = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                # BoringSSL refuses a key usage without digitalSignature.
                _key_usage(digital_signature=True, key_encipherment=is_rsa),
                critical=True,
            )
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName([_san(n) for n in names]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own_id.value),
                critical=False,
            )
            .sign(self.key, hashes.SHA256())
        )

    def _life(self, now: datetime, days: int) -> tuple[datetime, datetime]:
        """From a little before `now`, for `days`, and never outside the CA's own life."""
        start, end = self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc
        if not start <= now < end:
            raise CertificateError(
                f"the CA is valid from {start:%Y-%m-%d} to {end:%Y-%m-%d} and can't issue now",
                hint="check this host's clock; if it is right, rotate the CA",
            )
        return max(now - _CLOCK_SKEW, start), min(now + timedelta(days=days), end)


def _requested_key(csr_pem: str) -> keys.PublicKey:
    der = [b.der for b in pem.blocks(csr_pem, limit=_CSR_LIMIT) if "CERTIFICATE REQUEST" in b.label]
    if len(der) != 1:
        raise CertificateError(
            "send exactly one PKCS#10 request in PEM (BEGIN CERTIFICATE REQUEST)",
            hint="make one with: openssl req -new -key KEY -subj /CN=any",
        )
    try:
        csr = x509.load_der_x509_csr(der[0])
        # The key is judged first: checking a signature by an oversized key costs too much.
        public_key = keys.strong(csr.public_key())
        proven = csr.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError("the certificate request can't be read") from error
    if not proven:
        raise CertificateError("the certificate request isn't signed by the key that it names")
    return public_key


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return False
    return found.value.ca


def _organisation(certificate: x509.Certificate) -> str:
    found = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(found[0].value) if found else "frontserver"


def _name(*parts: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def _cut(text: str, most: int) -> str:
    """The first characters of `text` that fit into `most` bytes of UTF-8."""
    return text.encode()[:most].decode(errors="ignore")


def _subject(organisation: str, unit: str | None, domain: str) -> x509.Name:
    parts = [(NameOID.ORGANIZATION_NAME, organisation)]
    if unit is not None:
        parts.append((NameOID.ORGANIZATIONAL_UNIT_NAME, unit))
    if len(domain) <= NAME_LIMIT:
        parts.append((NameOID.COMMON_NAME, domain))
    return _name(*parts)


def _server_name(name: str) -> str:
    try:
        return str(ip_address(name))
    except ValueError:
        wildcard = "*." if name.startswith("*.") else ""
        return wildcard + DomainName(name.removeprefix("*."))


def _san(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_encipherment=key_encipherment,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
