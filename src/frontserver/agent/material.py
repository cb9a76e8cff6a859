"""A certificate, its key and its CA: checked together before anything on disk is replaced."""

from __future__ import annotations

from datetime import datetime

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from frontserver.errors import CertificateError

_LONGEST_CHAIN = 5


class Material(msgspec.Struct, frozen=True):
    """PEM texts: the CA (or a bundle), the certificate (intermediates after it), its key."""

    ca: str
    cert: str
    key: str

    @property
    def key_pem(self) -> str:
        """Certificate and key in one text, as mongod wants them."""
        # Without the newline between the blocks mongod exits ("bad end line").
        return f"{self.cert.strip()}\n{self.key.strip()}\n"


class Leaf(msgspec.Struct, frozen=True):
    """What matters of a checked certificate. Times in UTC; fingerprint SHA-256 in hex."""

    serial: int
    fingerprint: str
    not_before: datetime
    not_after: datetime

    @property
    def renew_at(self) -> datetime:
        """Two thirds of its life."""
        return self.not_before + (self.not_after - self.not_before) * 2 / 3


def check(material: Material, domain: str, now: datetime) -> Leaf:
    """Raise `CertificateError` unless clients that trust the CA will accept `domain` with it.

    Checked: key and certificate belong together, the chain up to the CA, dates, the name,
    and the usages (mongod starts with wrong ones, and then every client fails).
    """
    authorities = _certificates(material.ca, "the CA")
    leaf, *intermediates = _certificates(material.cert, "the certificate")
    key = _private_key(material.key)
    if _public_bytes(key) != leaf.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    ):
        raise CertificateError("the certificate and the key don't belong together")
    _check_dates(leaf, now, "the certificate")
    _check_chain(leaf, intermediates, authorities, now)
    _check_name(leaf, domain)
    _check_usage(leaf)
    return leaf_of(leaf)


def leaf_of(certificate: x509.Certificate) -> Leaf:
    """The certificate's serial, fingerprint and dates."""
    return Leaf(
        serial=certificate.serial_number,
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def new_key(kind: str) -> str:
    """A new private key, PKCS#8 PEM: `ec` (P-256) or `rsa` (2048 bits)."""
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if kind == "ec":
        key = ec.generate_private_key(ec.SECP256R1())
    else:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem.decode("ascii")


def signing_request(key_pem: str, domain: str) -> str:
    """A PKCS#10 request (RFC 2986) in PEM for `domain`, signed with the key."""
    key = _private_key(key_pem)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise CertificateError("a request needs an EC or RSA key")
    # X.520 allows 64 characters in a common name; the SAN is what clients read.
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, domain)] if len(domain) <= 64 else []
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name(subject))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return request.public_bytes(Encoding.PEM).decode("ascii")


def _certificates(pem: str, what: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise CertificateError(f"{what} can't be read as PEM: {error}") from error


def _private_key(pem: str) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise CertificateError(f"the key can't be read as PEM: {error}") from error


def _public_bytes(key: PrivateKeyTypes) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _check_dates(certificate: x509.Certificate, now: datetime, what: str) -> None:
    if now < certificate.not_valid_before_utc:
        start = certificate.not_valid_before_utc
        raise CertificateError(
            f"{what} isn't valid before {start:%Y-%m-%d %H:%M} UTC", hint="check this host's clock"
        )
    if now >= certificate.not_valid_after_utc:
        end = certificate.not_valid_after_utc
        raise CertificateError(f"{what} expired on {end:%Y-%m-%d %H:%M} UTC")


def _check_chain(
    leaf: x509.Certificate,
    intermediates: list[x509.Certificate],
    authorities: list[x509.Certificate],
    now: datetime,
) -> None:
    current = leaf
    for _ in range(_LONGEST_CHAIN):
        anchor = _issuer(current, authorities)
        if anchor is not None:
            _check_dates(anchor, now, "the CA certificate")
            return
        above = _issuer(current, intermediates)
        if above is None:
            break
        _check_dates(above, now, "an intermediate certificate")
        current = above
    raise CertificateError("the certificate wasn't issued by the CA it comes with")


def _issuer(
    certificate: x509.Certificate, candidates: list[x509.Certificate]
) -> x509.Certificate | None:
    for candidate in candidates:
        if not _is_authority(candidate):
            continue
        try:
            certificate.verify_directly_issued_by(candidate)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return candidate
    return None


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _check_name(leaf: x509.Certificate, domain: str) -> None:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise CertificateError("the certificate names no host (no SAN)") from None
    known = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    if domain.lower() not in known:
        raise CertificateError(f"the certificate is for {', '.join(known)}, not for {domain}")


def _check_usage(leaf: x509.Certificate) -> None:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        pass
    else:
        if not usage.digital_signature:
            raise CertificateError("the certificate's key usage lacks digitalSignature")
    try:
        purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if ExtendedKeyUsageOID.SERVER_AUTH not in purposes:
        raise CertificateError("the certificate isn't for servers (no serverAuth)")
