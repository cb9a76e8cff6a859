"""Which keys are made, and which are taken from others."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from frontserver.errors import CertificateError
from frontserver.pki import keys
from tests.unit.pki.samples import key_pem


def test_an_ec_key_is_p256() -> None:
    key = keys.generate("ec", rsa_bits=2048)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp256r1"


def test_an_rsa_key_has_the_bits_that_were_asked_for() -> None:
    key = keys.generate("rsa", rsa_bits=2048)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 2048
    assert key.public_key().public_numbers().e == 65537


def test_keys_are_written_as_pkcs8_and_read_back(rsa_key: keys.PrivateKey) -> None:
    for key in (rsa_key, ec.generate_private_key(ec.SECP256R1())):
        pem = keys.pkcs8(key)
        assert pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
        assert keys.same(keys.load_private(pem).public_key(), key.public_key())


def test_older_forms_of_keys_are_read(rsa_key: keys.PrivateKey) -> None:
    for key in (rsa_key, ec.generate_private_key(ec.SECP384R1())):
        read = keys.load_private(key_pem(key, traditional=True).encode())
        assert keys.same(read.public_key(), key.public_key())


@pytest.mark.parametrize("bits", [2048, 3072, 8192])
def test_rsa_keys_of_these_sizes_are_strong(bits: int, rsa_key: keys.PrivateKey) -> None:
    assert keys.strong(rsa.RSAPublicNumbers(65537, (1 << bits) - 1).public_key())


@pytest.mark.parametrize("bits", [1024, 2047, 8193])
def test_rsa_keys_of_other_sizes_are_refused(bits: int) -> None:
    with pytest.raises(CertificateError, match=f"RSA key of {bits} bits"):
        keys.strong(rsa.RSAPublicNumbers(65537, (1 << bits) - 1).public_key())


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_p256_and_p384_are_strong(curve: ec.EllipticCurve) -> None:
    public = ec.generate_private_key(curve).public_key()
    assert keys.strong(public) is public


@pytest.mark.parametrize("curve", [ec.SECP521R1(), ec.SECP256K1(), ec.SECP224R1()])
def test_other_curves_are_refused(curve: ec.EllipticCurve) -> None:
    with pytest.raises(CertificateError, match=f"curve {curve.name} is refused.*P-256"):
        keys.strong(ec.generate_private_key(curve).public_key())


@pytest.mark.parametrize("kind", [ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey])
def test_edwards_curves_are_refused(kind: type[ed25519.Ed25519PrivateKey]) -> None:
    key = kind.generate()
    with pytest.raises(CertificateError, match="neither RSA nor EC"):
        keys.strong(key.public_key())
    with pytest.raises(CertificateError, match="a kind that clients refuse"):
        keys.load_private(key_pem(key).encode())  # type: ignore[arg-type]


def test_a_weak_private_key_is_refused(weak_rsa_key: keys.PrivateKey) -> None:
    with pytest.raises(CertificateError, match="1024 bits"):
        keys.load_private(key_pem(weak_rsa_key).encode())


def test_an_encrypted_key_is_refused_with_the_way_out() -> None:
    locked = key_pem(ec.generate_private_key(ec.SECP256R1()), password=b"secret")
    with pytest.raises(CertificateError, match=r"encrypted.*openssl pkey"):
        keys.load_private(locked.encode())


def test_rubbish_is_refused() -> None:
    for pem in (b"", b"rubbish", b"-----BEGIN PRIVATE KEY-----\nAAEC\n-----END PRIVATE KEY-----\n"):
        with pytest.raises(CertificateError, match="can't be read"):
            keys.read_private(pem)


def test_two_keys_are_not_the_same() -> None:
    one, other = (ec.generate_private_key(ec.SECP256R1()).public_key() for _ in range(2))
    assert keys.same(one, one)
    assert not keys.same(one, other)
