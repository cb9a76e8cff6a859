"""Names that may reach HAProxy."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from frontserver.errors import InputError
from frontserver.model.names import AgentId, DomainName, PathPrefix, Subdomain, shown

HOSTILE = [
    "",
    "a b",
    "a\n",
    "\na",
    "a\nb",
    "a\r\nb",
    "a\0",
    "a%b",
    "a'b",
    'a"b',
    "a\\b",
    "a#b",
    "a;b",
    "a$b",
    "a/b",
    "a:b",
    "a{b}",
    "-a",
    "a-",
    "-",
    "a" * 64,
    "a" * 10_000,
    "*",
    "а.ex",  # noqa: RUF001 - a Cyrillic letter, on purpose
    "a\u200db",
    "a\u202eb",
    "\uff41gent",
    "agent\u212a",
    "١",  # noqa: RUF001 - an Arabic digit, on purpose
    "\ud800",
]
SAFE = re.compile(r"[a-z0-9_.-]+")


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_agent_ids_are_refused(value: str) -> None:
    with pytest.raises(InputError) as refusal:
        AgentId(value)
    assert refusal.value.field == "agentId"


@pytest.mark.parametrize("value", [*HOSTILE, "a.b", "a_b"])
def test_hostile_subdomains_are_refused(value: str) -> None:
    with pytest.raises(InputError) as refusal:
        Subdomain(value)
    assert refusal.value.field == "subdomain"


@pytest.mark.parametrize("value", [*HOSTILE, ".", "a..b", ".a", "a.b..", "a." * 127 + "a.example"])
def test_hostile_domain_names_are_refused(value: str) -> None:
    with pytest.raises(InputError):
        DomainName(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a1", "a1"), ("SERVER-7", "server-7"), ("0", "0"), ("a" * 63, "a" * 63), ("a--b", "a--b")],
)
def test_agent_ids_are_stored_in_lower_case(value: str, expected: str) -> None:
    assert AgentId(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("shop", "shop"),
        ("Shop-1", "shop-1"),
        ("0", "0"),
        ("bücher", "xn--bcher-kva"),
        ("BÜCHER", "xn--bcher-kva"),
        ("xn--bcher-kva", "xn--bcher-kva"),
        ("XN--BCHER-KVA", "xn--bcher-kva"),
        ("привет", "xn--b1agh1afp"),
        ("日本語カナ", "xn--lck2c295sncbk91h"),
    ],
)
def test_subdomains_are_stored_in_a_label_form(value: str, expected: str) -> None:
    assert Subdomain(value) == expected


@pytest.mark.parametrize("value", ["www", "WWW", "mail", "localhost", "wpad", "_acme-challenge"])
def test_reserved_and_service_subdomains_are_refused(value: str) -> None:
    with pytest.raises(InputError):
        Subdomain(value)


def test_an_operator_chooses_what_is_reserved() -> None:
    assert Subdomain("www", reserved=frozenset()) == "www"
    with pytest.raises(InputError, match=r"'Status' is reserved.*another subdomain"):
        Subdomain("Status", reserved=frozenset({"status"}))


@pytest.mark.parametrize("value", ["pаypal", "paypαl", "a日本"])  # noqa: RUF001 - look-alikes
def test_labels_that_mix_alphabets_are_refused(value: str) -> None:
    with pytest.raises(InputError, match="several alphabets"):
        Subdomain(value)


def test_mixed_alphabets_are_seen_through_the_a_label() -> None:
    hidden = "pаypal".encode("idna").decode()  # noqa: RUF001 - look-alike
    with pytest.raises(InputError, match="several alphabets"):
        Subdomain(hidden)


@pytest.mark.parametrize("value", ["xn--", "xn--www-", "xn--abc", "xn--a", "xn--" + "9" * 40])
def test_false_a_labels_are_refused(value: str) -> None:
    with pytest.raises(InputError):
        Subdomain(value)


def test_a_label_that_grows_too_long_is_refused() -> None:
    with pytest.raises(InputError):
        Subdomain("ü" + "x" * 60)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Apps.Example.COM.", "apps.example.com"),
        ("localhost", "localhost"),
        ("my_service", "my_service"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("1.2.3.4a", "1.2.3.4a"),
        (".".join(["a" * 49] * 5) + ".ab", ".".join(["a" * 49] * 5) + ".ab"),
    ],
)
def test_domain_names_are_lower_case_without_a_trailing_dot(value: str, expected: str) -> None:
    assert DomainName(value) == expected


@pytest.mark.parametrize(
    "value", ["127.1", "2130706433", "1.2.3.4", "0x7f000001", "a.0x1f", "1.2."]
)
def test_names_that_resolvers_read_as_addresses_are_refused(value: str) -> None:
    with pytest.raises(InputError, match="neither an address nor a host name"):
        DomainName(value)


@given(st.text())
@example("shop\u212a")
@example("ä\u212a")
def test_whatever_is_accepted_is_safe_and_stays_as_it_is(text: str) -> None:
    for kind in (AgentId, Subdomain, DomainName):
        try:
            name = kind(text)
        except InputError:
            continue
        assert SAFE.fullmatch(name)
        assert name == kind(name)


@given(st.text(alphabet=st.characters(categories=["Lu", "Ll", "Lo", "Nd", "Mn"]), max_size=8))
def test_no_letter_beyond_ascii_becomes_an_ascii_label(text: str) -> None:
    """A look-alike must not pass for another agent's name, not even by changing its case."""
    try:
        name = Subdomain(text)
    except InputError:
        return
    assert text.isascii() or name.startswith("xn--")
    assert unicodedata.is_normalized("NFC", text)


def test_what_messages_quote_is_escaped_and_short() -> None:
    assert shown("a\nb\0é") == r"'a\nb\x00\xe9'"
    assert len(shown("x" * 10_000)) < 80


@given(st.text())
def test_what_messages_quote_never_holds_a_raw_byte(text: str) -> None:
    assert shown(text).isascii()
    assert shown(text).isprintable()


# --- paths ---


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("/", "/"),
        ("/api", "/api"),
        ("/api/", "/api"),
        ("/API/v2.1/", "/API/v2.1"),
        ("/~user/_x-y", "/~user/_x-y"),
        ("/...", "/..."),
        ("/.well-known", "/.well-known"),
        ("/" + "x" * 127, "/" + "x" * 127),
    ],
)
def test_a_path_has_one_spelling(given_: str, expected: str) -> None:
    assert PathPrefix(given_) == expected
    assert PathPrefix(PathPrefix(given_)) == expected
    assert PathPrefix(given_).is_root == (expected == "/")


@pytest.mark.parametrize(
    "hostile",
    [
        *(value for value in HOSTILE if not value.startswith("/")),
        *("api", "//", "//api", "/api//", "/api//x", "/.", "/..", "/./api", "/api/..", "/a/../b"),
        *("/a b", "/a\n", "/a\nb", "/a\0", "/a%2fb", "/%2e%2e", "/a?x=1", "/a#b", "/a;b", "/a\\b"),
        *("/ä", "/a\u2044b", "/a'b", '/a"b', "/a$b", "/a{b}", "/a*", "/" + "x" * 128),
        *("http://shop.example.com/", "/a\tb", "/ ", "/a/ "),
    ],
)
def test_a_path_is_plain_segments(hostile: str) -> None:
    with pytest.raises(InputError) as refusal:
        PathPrefix(hostile)
    assert refusal.value.field == "path"


@given(st.text(max_size=140).map(lambda text: "/" + text))
@example("/a/./b")
def test_a_path_is_refused_or_safe_in_a_map(text: str) -> None:
    try:
        path = PathPrefix(text)
    except InputError:
        return
    assert re.fullmatch(r"/|(/[A-Za-z0-9._~-]+)+", path)
    assert not {".", ".."} & set(path.split("/"))
    assert len(path) <= 128
