"""Leaf certificates: what one is asked to say, and what one says."""

from __future__ import annotations

from datetime import datetime
from ipaddress import ip_address

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from frontserver.errors import CertificateError
from frontserver.model.names import AgentId, DomainName, shown
from frontserver.pki import pem
from frontserver.pki.keys import KeyType, PrivateKey, pkcs8

# X.520's upper bound of O, OU and CN (RFC 5280 appendix A.1).
NAME_LIMIT = 64
_MOST_NAMES = 64


class LeafSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent's certificate says.

    The subject is `O=installation, OU=agent_id, CN=domain`: mongod takes certificates with equal
    O and OU for members of one cluster, so OU must differ between agents. A domain longer than
    64 characters doesn't fit into CN, which is then left out (names are read from the SANs,
    RFC 9525). Names that an agent may use are the caller's decision; here only their form is
    checked (`InputError`, `CertificateError`).
    """

    installation: str
    agent_id: str
    domain: str
    extra_domains: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    replica_set: bool = False
    key_type: KeyType = "ec"
    days: int = 90

    def __post_init__(self) -> None:
        put = msgspec.structs.force_setattr
        put(self, "agent_id", AgentId(self.agent_id))
        put(self, "domain", DomainName(self.domain))
        put(self, "extra_domains", tuple(DomainName(name) for name in self.extra_domains))
        put(self, "addresses", tuple(_address(text) for text in self.addresses))
        check_organisation(self.installation)
        if self.days < 1:
            raise CertificateError("a certificate must be valid for at least one day")
        if len(self.extra_domains) + len(self.addresses) > _MOST_NAMES:
            raise CertificateError(f"a certificate holds at most {_MOST_NAMES} extra names")

    @property
    def names(self) -> tuple[str, ...]:
        """Every host name and address that the certificate is valid for, each once."""
        every = (self.domain, *self.extra_domains, "localhost", "127.0.0.1", *self.addresses)
        return tuple(dict.fromkeys(every))


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise CertificateError(f"{shown(text)} is not an IP address") from error


def check_organisation(installation: str) -> None:
    """Raise `CertificateError` unless the text can be O= of a subject."""
    if not installation.isprintable() or not 1 <= len(installation) <= NAME_LIMIT:
        raise CertificateError(
            f"the installation's name must have 1 to {NAME_LIMIT} printable characters"
        )


class Leaf(msgspec.Struct, frozen=True, kw_only=True):
    """An issued certificate; `key_pem` is `None` when the key never left its owner.

    `serial` and `fingerprint` (SHA-256 of the DER form) are lower-case hex; times are UTC.
    """

    certificate_pem: str
    key_pem: str | None
    serial: str
    not_before: datetime
    not_after: datetime
    fingerprint: str

    def __repr__(self) -> str:
        return f"Leaf(serial={self.serial!r}, not_after={self.not_after.isoformat()!r})"


def describe(certificate: x509.Certificate, key: PrivateKey | None = None) -> Leaf:
    """The `Leaf` of a certificate and, where we hold it, its key."""
    return Leaf(
        certificate_pem=certificate_text(certificate),
        key_pem=None if key is None else pkcs8(key).decode("ascii"),
        serial=serial_hex(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
    )


def certificate_text(certificate: x509.Certificate) -> str:
    """The certificate as normalised PEM."""
    return str(pem.Block("CERTIFICATE", certificate.public_bytes(serialization.Encoding.DER)))


def serial_hex(certificate: x509.Certificate) -> str:
    """The serial as `openssl x509 -serial` writes it, in lower case: whole bytes, unpadded."""
    serial = certificate.serial_number
    return serial.to_bytes((serial.bit_length() + 7) // 8 or 1, "big").hex()


def renewal_due(certificate_pem: str, now: datetime) -> bool:
    """Whether two thirds of the certificate's life are over. Raises `CertificateError`."""
    certificate = load_certificate(certificate_pem)
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return now >= start + (end - start) * 2 / 3


def load_certificate(certificate_pem: str) -> x509.Certificate:
    """The first certificate of a PEM text. Raises `CertificateError`."""
    for block in pem.blocks(certificate_pem):
        if block.label == "CERTIFICATE":
            return decode_certificate(block.der)
    raise CertificateError("the PEM text holds no certificate")


def decode_certificate(der: bytes) -> x509.Certificate:
    """A certificate from DER, its extensions included. Raises `CertificateError`."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        _ = certificate.extensions, certificate.subject  # Parsed late otherwise.
    except (ValueError, x509.DuplicateExtension) as error:
        raise CertificateError("a certificate can't be read") from error
    return certificate
