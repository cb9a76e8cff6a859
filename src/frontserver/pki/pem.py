"""PEM text (RFC 7468): reading it strictly, and writing it in one form only."""

from __future__ import annotations

import base64
import binascii
import re

import msgspec

from frontserver.errors import CertificateError

# A chain of four RSA-4096 certificates with a key takes 12 KiB.
LIMIT = 64 * 1024

_BLOCK = re.compile(
    r"-----BEGIN (?P<label>[A-Z0-9][A-Z0-9 ]{0,40})-----[ \t]*\n"
    r"(?P<body>(?:(?!-----).)*)"
    r"-----END (?P=label)-----",
    re.DOTALL,
)


class Block(msgspec.Struct, frozen=True):
    """One PEM block: its label, such as `CERTIFICATE`, and its DER bytes."""

    label: str
    der: bytes

    def __str__(self) -> str:
        text = base64.b64encode(self.der).decode("ascii")
        lines = [text[start : start + 64] for start in range(0, len(text), 64)]
        return "\n".join([f"-----BEGIN {self.label}-----", *lines, f"-----END {self.label}-----\n"])

    def __repr__(self) -> str:
        return f"Block({self.label!r}, {len(self.der)} bytes)"


def blocks(pem: str, *, limit: int = LIMIT) -> list[Block]:
    """The blocks of `pem` in order; text between them is ignored, as RFC 7468 section 2 allows.

    Raises `CertificateError` if there is none, if one is damaged, or beyond `limit` characters.
    """
    if len(pem) > limit:
        raise CertificateError(f"the PEM text is longer than {limit} characters")
    text = pem.replace("\r\n", "\n").replace("\r", "\n")
    found = [_block(match) for match in _BLOCK.finditer(text)]
    if not found:
        raise CertificateError(
            "this is not PEM text",
            hint="PEM starts with a line such as -----BEGIN CERTIFICATE-----",
        )
    if len(found) != text.count("-----BEGIN "):
        raise CertificateError("a PEM block is damaged", hint="look for a cut or merged line")
    return found


def _block(match: re.Match[str]) -> Block:
    body = match["body"]
    if ":" in body:
        raise CertificateError(
            "a PEM block has headers: it is probably an encrypted key",
            hint="decrypt it with: openssl pkey -in FILE",
        )
    try:
        der = base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise CertificateError(f"a PEM block ({match['label']}) is not Base64") from error
    if not der:
        raise CertificateError(f"a PEM block ({match['label']}) is empty")
    return Block(match["label"], der)


def normalised(pem: str, *, limit: int = LIMIT) -> str:
    """The same blocks with 64 characters a line, LF line ends and nothing in between.

    An empty line would end the payload of a HAProxy runtime command (management guide 9.3), so
    nothing else may reach one. Raises `CertificateError` like `blocks`.
    """
    return "".join(str(block) for block in blocks(pem, limit=limit))
