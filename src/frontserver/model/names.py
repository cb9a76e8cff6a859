"""Names that may reach HAProxy: validated once, where they are made.

Each is a `str` with a promise. Nothing with a space, newline, quote, `%` or NUL can be one.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Self

import idna

from frontserver.errors import InputError

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_HOST_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_PATH_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
_LONGEST_PATH = 128
_LABEL_RULE = "letters, digits and inner hyphens, at most 63 characters"

# Names with a meaning of their own on the web or in mail and proxy discovery.
RESERVED_SUBDOMAINS = frozenset(
    {
        "autoconfig",
        "autodiscover",
        "frontserver",
        "isatap",
        "localhost",
        "mail",
        "mta-sts",
        "ns1",
        "ns2",
        "wpad",
        "www",
    }
)


def shown(value: str) -> str:
    """`value` as it may appear in an error message: escaped, and cut at 64 characters."""
    text = value if len(value) <= 64 else value[:64] + "…"
    return ascii(text)


class AgentId(str):
    """An agent's id: one DNS label in lower case (RFC 1035 section 2.3.1), so it can be a host.

    Raises `InputError` for anything else.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        lowered = value.lower() if value.isascii() else value
        if not _LABEL.fullmatch(lowered):
            raise InputError("agentId", f"{shown(value)} is not an agent id: {_LABEL_RULE}")
        return super().__new__(cls, lowered)


class Subdomain(str):
    """The label below the application domain, in lower case and A-label form (RFC 5890).

    Raises `InputError` for reserved names, invalid ones, and labels that mix scripts.
    """

    __slots__ = ()

    def __new__(cls, value: str, *, reserved: frozenset[str] = RESERVED_SUBDOMAINS) -> Self:
        label = _a_label(value)
        if label in reserved:
            raise InputError(
                "subdomain", f"{shown(value)} is reserved", hint="choose another subdomain"
            )
        return super().__new__(cls, label)


class PathPrefix(str):
    """Where a route begins below its domain: `/`, or `/` and segments without a `/` at the end.

    Segments hold unreserved characters (RFC 3986 section 2.3) and are told apart by case, so a
    prefix has one spelling. Raises `InputError`.
    """

    __slots__ = ()

    def __new__(cls, value: str = "/") -> Self:
        prefix = value if value == "/" else value.removesuffix("/")
        if len(prefix) > _LONGEST_PATH:
            raise InputError("path", f"a path has at most {_LONGEST_PATH} characters")
        if value != "/" and not _PATH_PREFIX.fullmatch(prefix):
            raise InputError(
                "path",
                f"{shown(value)} is not a path that a route can begin at",
                hint="write /, or something like /api/v2: letters, digits, '-', '.', '_' and '~',"
                " no empty segment, no query and nothing percent-encoded",
            )
        if {".", ".."} & set(prefix.split("/")):
            raise InputError(
                "path",
                f"{shown(value)} has a segment of dots, which clients and origins resolve",
                hint="name the path that is meant",
            )
        return super().__new__(cls, prefix)

    @property
    def is_root(self) -> bool:
        """Whether it is all of the domain."""
        return self == "/"


def _a_label(value: str) -> str:
    refusal = InputError("subdomain", f"{shown(value)} is not a subdomain: {_LABEL_RULE}")
    # NFC also tells look-alikes such as the Kelvin sign, whose lower case is an ASCII letter.
    if len(value) > 63 or not unicodedata.is_normalized("NFC", value):
        raise refusal
    lowered = value.lower()
    if lowered.isascii() and not lowered.startswith("xn--"):
        if not _LABEL.fullmatch(lowered):
            raise refusal
        return lowered
    try:
        unicode_form = idna.ulabel(lowered)
        encoded = idna.alabel(unicode_form).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise refusal from error
    if _scripts(unicode_form) > 1:
        raise InputError("subdomain", f"{shown(value)} mixes letters of several alphabets")
    return encoded


# Japanese and Korean names mix these as a matter of course (UTS 39, "highly restrictive").
_EAST_ASIAN = frozenset({"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO"})


def _scripts(label: str) -> int:
    names = {unicodedata.name(c, "?").split()[0] for c in label if c.isalpha()}
    east_asian = names & _EAST_ASIAN
    return len(names - _EAST_ASIAN) + bool(east_asian)


class DomainName(str):
    """A full host name in lower case, A-label form, without a trailing dot.

    Underscores are allowed, since names of container networks hold them. Raises `InputError`.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        # The lower case of some letters beyond ASCII is an ASCII letter (the Kelvin sign).
        lowered = (value.lower() if value.isascii() else value).removesuffix(".")
        labels = lowered.split(".")
        if len(lowered) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in labels):
            raise InputError("", f"{shown(value)} is not a host name")
        if _numeric(labels[-1]):
            raise InputError("", f"{shown(value)} is neither an address nor a host name")
        return super().__new__(cls, lowered)


def _numeric(label: str) -> bool:
    """Whether resolvers may read the name as an address in some old notation (inet_aton)."""
    return label.isdigit() or re.fullmatch(r"0x[0-9a-f]*", label) is not None
