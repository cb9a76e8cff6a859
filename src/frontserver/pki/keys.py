"""Private and public keys: which kinds we make, and which we accept from others."""

from __future__ import annotations

from typing import Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

from frontserver.errors import CertificateError

KeyType = Literal["rsa", "ec"]
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384"}
_RSA_BITS = range(2048, 8193)
_ADVICE = "use EC P-256, EC P-384, or RSA with 2048 to 8192 bits"


def generate(key_type: KeyType, *, rsa_bits: int) -> PrivateKey:
    """A new key: EC P-256, or RSA of `rsa_bits`. RSA takes 0.1 to 1 s of one core."""
    if key_type == "ec":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=rsa_bits)


def pkcs8(key: PrivateKey) -> bytes:
    """The key as unencrypted PKCS#8 PEM: "BEGIN PRIVATE KEY" (RFC 5958)."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def read_private(pem: bytes) -> PrivateKeyTypes:
    """Any unencrypted private key that OpenSSL reads. Raises `CertificateError`."""
    try:
        return serialization.load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise CertificateError(
            "the private key is encrypted", hint="decrypt it with: openssl pkey -in FILE"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError("the private key can't be read") from error


def load_private(pem: bytes) -> PrivateKey:
    """An unencrypted key of a kind that we make. Raises `CertificateError` for any other."""
    key = read_private(pem)
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise CertificateError("the private key is of a kind that clients refuse", hint=_ADVICE)
    strong(key.public_key())
    return key


def strong(key: object) -> PublicKey:
    """The key itself, if it is one that every client of ours takes, BoringSSL's included.

    Raises `CertificateError` for Ed25519, DSA, other curves, and RSA that is too short or long.
    """
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size not in _RSA_BITS:
            raise CertificateError(f"an RSA key of {key.key_size} bits is refused", hint=_ADVICE)
        return key
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise CertificateError(f"the curve {key.curve.name} is refused", hint=_ADVICE)
        return key
    raise CertificateError("keys that are neither RSA nor EC are refused", hint=_ADVICE)


def same(left: PublicKeyTypes, right: PublicKeyTypes) -> bool:
    """Whether two public keys are one."""
    return _spki(left) == _spki(right)


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
