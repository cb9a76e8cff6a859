"""Reading and writing PEM text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontserver.errors import CertificateError
from frontserver.pki import pem

SAMPLE = "-----BEGIN THING-----\nAAEC\n-----END THING-----\n"


@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=4))
def test_written_blocks_read_back_as_they_were(payloads: list[bytes]) -> None:
    written = [pem.Block("THING", payload) for payload in payloads]
    text = "".join(str(block) for block in written)
    assert written == pem.blocks(text)
    assert text == pem.normalised(text)


@given(st.binary(min_size=1, max_size=300))
def test_written_text_has_no_empty_or_long_line_and_ends_with_lf(payload: bytes) -> None:
    text = str(pem.Block("THING", payload))
    lines = text.split("\n")
    assert lines.pop() == ""
    assert all(0 < len(line) <= 64 for line in lines)


@pytest.mark.parametrize(
    "text",
    [
        SAMPLE.replace("\n", "\r\n"),
        SAMPLE.replace("\n", "\r"),
        SAMPLE.replace("\n", "\n\n"),
        SAMPLE.replace("AAEC", " AA \n\n EC\t"),
        "Bag Attributes\n  name: x\n\n" + SAMPLE + "\n\ntrailing words\n",
        SAMPLE.rstrip("\n"),
    ],
    ids=["crlf", "cr", "blank lines", "blanks", "text around", "no end of line"],
)
def test_normalising_leaves_only_the_blocks(text: str) -> None:
    assert pem.normalised(text) == SAMPLE


def test_blocks_without_a_line_end_between_them_are_told_apart() -> None:
    assert pem.normalised(SAMPLE.strip() * 2) == SAMPLE * 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not PEM"),
        ("hello", "not PEM"),
        ("-----BEGIN THING-----\nAAEC\n", "not PEM"),
        (SAMPLE + "-----BEGIN THING-----\nAAEC\n", "damaged"),
        ("-----BEGIN A-----\nAAEC\n-----END B-----\n" + SAMPLE, "damaged"),
        (SAMPLE.replace("AAEC", "AA!C"), "not Base64"),
        (SAMPLE.replace("AAEC", "AAE"), "not Base64"),
        (SAMPLE.replace("AAEC", "AAÉC"), "not Base64"),
        (SAMPLE.replace("AAEC", ""), "empty"),
        (SAMPLE.replace("AAEC", "Proc-Type: 4,ENCRYPTED\n\nAAEC"), "encrypted key"),
    ],
)
def test_damaged_text_is_refused(text: str, reason: str) -> None:
    with pytest.raises(CertificateError, match=reason):
        pem.normalised(text)


def test_text_beyond_the_limit_is_refused() -> None:
    with pytest.raises(CertificateError, match="longer than 10 characters"):
        pem.blocks(SAMPLE, limit=10)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for candidate in (text, SAMPLE + text, SAMPLE.replace("AAEC", text)):
        try:
            normalised = pem.normalised(candidate)
        except CertificateError:
            continue
        assert "\n\n" not in normalised
        assert normalised.isascii()


def test_a_block_does_not_show_its_bytes() -> None:
    assert repr(pem.Block("PRIVATE KEY", b"secret")) == "Block('PRIVATE KEY', 6 bytes)"
