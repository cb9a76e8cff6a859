"""Commands on their way to HAProxy: nothing can be smuggled along."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontserver.errors import CommandRefusedError
from frontserver.haproxy.commands import Encoded, encode, word


def test_a_command_is_sent_as_one_line() -> None:
    assert encode("show info") == Encoded("show info", b"show info\n")


def test_a_payload_follows_its_command_and_ends_with_a_blank_line() -> None:
    encoded = encode(("add map /hosts", "a.example one\nb.example two; # <<\n"))
    assert encoded.data == b"add map /hosts <<\na.example one\nb.example two; # <<\n\n"
    assert encoded.payload_lines == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        " show info",
        "show info ",
        "show info\nshow stat",
        "show info\rshow stat",
        "show\0info",
        "show\tinfo",
        "show info;show stat",
        "show info\\\\;show stat",
        "show info\\",
        "prompt",
        "quit",
        "user",
        "@1 show info",
        "@!77 show info",
        "# nothing",
        "add map /hosts <<",
        "add map /hosts <<%EOF%",
        "add map /hosts a b<<",
        "add map /hosts a\\ <<",
        "add map /hosts a \x85b",
        "add map /hosts a \ud800",
    ],
)
def test_a_command_that_means_more_than_one_is_refused(text: str) -> None:
    with pytest.raises(CommandRefusedError, match="not sent"):
        encode(text)
    with pytest.raises(CommandRefusedError, match="not sent"):
        encode((text, "a b"))


@pytest.mark.parametrize(
    "payload",
    ["", "\n", "a b\n\nshow info", "a b\n \nc d", "a b\n\n", "a\0b", "a b\r", "a \x1b[1m"],
)
def test_a_payload_that_would_end_early_is_refused(payload: str) -> None:
    with pytest.raises(CommandRefusedError, match="not sent"):
        encode(("add map /hosts", payload))


@pytest.mark.parametrize(
    "text", ["add map /hosts a\\;b c", "add map /hosts a<<b c", "get map /h é"]
)
def test_what_only_looks_dangerous_is_sent(text: str) -> None:
    assert encode(text).data.decode() == text + "\n"


@settings(deadline=None)
@given(st.text(), st.text())
def test_no_text_ever_becomes_two_commands(text: str, payload: str) -> None:
    for command in (text, (text, payload)):
        try:
            encoded = encode(command)
        except CommandRefusedError:
            continue
        line, _, body = encoded.data.partition(b"\n")
        assert b";" not in line.replace(b"\\\\", b"").replace(b"\\;", b"")
        assert not {0x0D, 0x00} & set(encoded.data)
        # Without payload nothing follows; with one, only its end is a blank line.
        assert body == b"" if isinstance(command, str) else body.find(b"\n\n") == len(body) - 2


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1))
def test_a_word_stays_one_argument(text: str) -> None:
    escaped = encode(f"get map /hosts {word(text)}x").text.removeprefix("get map /hosts ")
    words, escape = [""], False
    for character in escaped:
        if escape or character not in "\\ ":
            words[-1] += character
            escape = False
        elif character == "\\":
            escape = True
        else:
            words.append("")
    assert words == [text + "x"]
