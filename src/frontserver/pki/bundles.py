"""PEM texts from outside: CA bundles, the operator's HTTPS certificate, leaves with their chain."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from frontserver.errors import CertificateError
from frontserver.pki import keys, pem
from frontserver.pki.leaf import decode_certificate, load_certificate


def parse_certificates(text: str, *, limit: int = pem.LIMIT) -> list[x509.Certificate]:
    """Every certificate of a PEM bundle, at least one.

    Raises `CertificateError` for anything else in it (a private key most of all), for damaged
    ones, and beyond `limit` characters.
    """
    found = pem.blocks(text, limit=limit)
    if any("PRIVATE KEY" in block.label for block in found):
        raise CertificateError(
            "this holds a private key, where only certificates belong",
            hint="the key may be known to others now: make a new one",
        )
    strange = {block.label for block in found} - {"CERTIFICATE"}
    if strange:
        raise CertificateError(f"only certificates belong here, not: {', '.join(sorted(strange))}")
    return [decode_certificate(block.der) for block in found]


def check_server_pem(text: str, now: datetime) -> tuple[str, ...]:
    """Check a HAProxy `crt` file: certificate, its chain, and its key in one PEM.

    Answers the names (host names, wildcards, addresses) that the certificate is for. Raises
    `CertificateError` if the first certificate isn't the key's, is not valid now, or has none.
    """
    found = pem.blocks(text)
    chain = [decode_certificate(block.der) for block in found if block.label == "CERTIFICATE"]
    private = [block for block in found if block.label.endswith("PRIVATE KEY")]
    if not chain or len(private) != 1:
        raise CertificateError(
            f"found {len(chain)} certificates and {len(private)} private keys",
            hint="the file must hold the certificate, its chain, and exactly one key",
        )
    key = keys.read_private(str(private[0]).encode())
    if not _belongs(key, chain[0]):
        elsewhere = any(_belongs(key, certificate) for certificate in chain[1:])
        raise CertificateError(
            "the private key doesn't belong to the first certificate",
            hint="put the server's certificate before its chain"
            if elsewhere
            else "this is the key of another certificate",
        )
    _check_dates(chain[0], now)
    names = host_names(chain[0])
    if not names:
        raise CertificateError(
            "the certificate names no host (it has no subjectAltName)",
            hint="browsers ignore CN: ask for a certificate with subject alternative names",
        )
    return names


def host_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Host names and addresses among a certificate's subject alternative names."""
    try:
        sans = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = sans.get_values_for_type(x509.IPAddress)
    return (*sans.get_values_for_type(x509.DNSName), *(str(address) for address in addresses))


def verify_leaf(leaf_pem: str, ca_pem: str, now: datetime) -> None:
    """Raise `CertificateError` unless a CA of the bundle issued the leaf and both are valid now."""
    leaf = load_certificate(leaf_pem)
    _check_dates(leaf, now)
    issuers = [ca for ca in parse_certificates(ca_pem) if _issued(ca, leaf)]
    if not issuers:
        raise CertificateError("the certificate isn't issued by a CA of this bundle")
    _check_dates(issuers[0], now)


def check_key(certificate_pem: str, key_pem: str) -> None:
    """Raise `CertificateError` unless the key belongs to the (first) certificate."""
    certificate = load_certificate(certificate_pem)
    private = [block for block in pem.blocks(key_pem) if block.label.endswith("PRIVATE KEY")]
    if len(private) != 1:
        raise CertificateError(f"found {len(private)} private keys instead of one")
    if not _belongs(keys.read_private(str(private[0]).encode()), certificate):
        raise CertificateError("the private key doesn't belong to the certificate")


def _belongs(key: PrivateKeyTypes, certificate: x509.Certificate) -> bool:
    try:
        return keys.same(key.public_key(), certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        return False


def _issued(ca: x509.Certificate, leaf: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(ca)
        constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.ExtensionNotFound):
        return False
    return constraints.ca


def _check_dates(certificate: x509.Certificate, now: datetime) -> None:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    subject = certificate.subject.rfc4514_string()
    if now < start:
        raise CertificateError(f"the certificate of {subject!r} is not valid before {start}")
    if now >= end:
        raise CertificateError(f"the certificate of {subject!r} expired at {end}")
