"""What a leaf certificate may be asked to say, and what it says."""

from __future__ import annotations

import hashlib
import ssl
from datetime import datetime, timedelta
from typing import Any

import pytest

from frontserver.errors import CertificateError, InputError
from frontserver.pki import pem
from frontserver.pki.authority import CertificateAuthority
from frontserver.pki.leaf import Leaf, decode_certificate, load_certificate, renewal_due, serial_hex
from tests.unit.pki.samples import spec


def test_a_spec_holds_names_in_their_normal_form() -> None:
    asked = spec(
        agent_id="A1",
        domain="A1.Mongodb.Example.com.",
        extra_domains=("0.A1.mongodb.example.com",),
        addresses=("2001:DB8:0::7",),
    )
    assert asked.agent_id == "a1"
    assert asked.names == (
        "a1.mongodb.example.com",
        "0.a1.mongodb.example.com",
        "localhost",
        "127.0.0.1",
        "2001:db8::7",
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"agent_id": "a.b"},
        {"agent_id": "a\n"},
        {"domain": "a b.example.com"},
        {"domain": "*.example.com"},
        {"extra_domains": ("ok.example.com", "evil\0.example.com")},
    ],
)
def test_bad_names_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        spec(**changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"addresses": ("host.example.com",)}, "not an IP address"),
        ({"installation": "x" * 65}, "1 to 64"),
        ({"installation": ""}, "1 to 64"),
        ({"days": 0}, "at least one day"),
        ({"addresses": tuple(f"192.0.2.{n}" for n in range(65))}, "at most 64"),
    ],
)
def test_bad_values_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(CertificateError, match=reason):
        spec(**changes)


def test_a_leaf_tells_what_its_certificate_says(issued: tuple[Any, Leaf]) -> None:
    leaf = issued[1]
    der = ssl.PEM_cert_to_DER_cert(leaf.certificate_pem)
    certificate = load_certificate(leaf.certificate_pem)
    assert leaf.fingerprint == hashlib.sha256(der).hexdigest()
    assert int(leaf.serial, 16) == certificate.serial_number
    assert len(leaf.serial) % 2 == 0
    assert leaf.not_before == certificate.not_valid_before_utc
    assert leaf.not_after == certificate.not_valid_after_utc
    assert serial_hex(certificate) == leaf.serial


def test_a_leaf_does_not_show_its_key(ec_leaf: Leaf) -> None:
    assert "PRIVATE" not in repr(ec_leaf)
    assert ec_leaf.serial in repr(ec_leaf)


def test_renewal_is_due_from_two_thirds_of_the_life(ec_leaf: Leaf) -> None:
    life = ec_leaf.not_after - ec_leaf.not_before
    due = ec_leaf.not_before + life * 2 / 3
    assert not renewal_due(ec_leaf.certificate_pem, ec_leaf.not_before)
    assert not renewal_due(ec_leaf.certificate_pem, due - timedelta(seconds=1))
    assert renewal_due(ec_leaf.certificate_pem, due)
    assert renewal_due(ec_leaf.certificate_pem, ec_leaf.not_after + timedelta(days=1))


def test_the_first_certificate_of_a_text_counts(
    ec_leaf: Leaf, ec_ca: CertificateAuthority, now: datetime
) -> None:
    assert ec_leaf.key_pem is not None
    text = ec_leaf.key_pem + ec_leaf.certificate_pem + ec_ca.certificate_pem
    assert serial_hex(load_certificate(text)) == ec_leaf.serial


def test_a_text_without_a_certificate_is_refused(ec_leaf: Leaf) -> None:
    assert ec_leaf.key_pem is not None
    with pytest.raises(CertificateError, match="holds no certificate"):
        load_certificate(ec_leaf.key_pem)


def test_a_damaged_certificate_is_refused(ec_leaf: Leaf) -> None:
    der = pem.blocks(ec_leaf.certificate_pem)[0].der
    basic_constraints = bytes.fromhex("0603551d13")
    twice = der.replace(bytes.fromhex("0603551d0f"), basic_constraints)
    assert twice != der
    for wrong in (der[:-5], b"rubbish", twice):
        with pytest.raises(CertificateError, match="can't be read"):
            decode_certificate(wrong)
