"""Encoding of keys, values and names: laws, and the characters that no one can carry."""

from __future__ import annotations

import re
import string
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontserver.dataplane import words
from frontserver.dataplane.errors import UnsayableError

# The API's own rule for what stands in a path (its OpenAPI document, `map_entry` and parents).
IN_PATH = re.compile(r'[^\r\n<>*;$#&{}"]+')


def cli_words(line: str) -> list[str]:
    """A line as HAProxy's command line splits it: at spaces, with `\\` escaping the next."""
    found, current, rest = [], "", iter(line)
    for char in rest:
        if char == "\\":
            current += next(rest)
        elif char == " ":
            found.append(current)
            current = ""
        else:
            current += char
    return [*found, current]


@settings(deadline=None)
@given(st.text())
def test_a_value_arrives_as_one_word_or_is_refused(text: str) -> None:
    try:
        said = words.value(text)
    except UnsayableError:
        assert not text or "<<" in text or re.search(r"[\x00-\x1f\x7f;]", text)
    else:
        assert cli_words(said) == [text]
        assert not {";", "\n"} & set(said)


@settings(deadline=None)
@given(st.text())
def test_a_key_arrives_as_one_word_and_fits_a_path_or_is_refused(text: str) -> None:
    try:
        key = words.key(text)
    except UnsayableError:
        return
    assert cli_words(key) == [text]
    assert IN_PATH.fullmatch(key)


@settings(deadline=None)
@given(st.from_regex(r"[a-z0-9.-]{1,30}(/[a-zA-Z0-9._~!'()*+,=:@%-]{0,9}){0,3}", fullmatch=True))
def test_hosts_and_paths_are_keys(text: str) -> None:
    if "*" in text:
        with pytest.raises(UnsayableError):
            words.key(text)
    else:
        assert words.key(text) == text


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_segment_is_one_segment_and_decodes_to_the_same(text: str) -> None:
    segment = words.segment(text)

    assert set(segment) <= set(string.ascii_letters + string.digits + "-._~%")
    assert unquote(segment) == text


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a;b", "a\n", 'a"', "a\\b"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UnsayableError):
        words.name(name)


@pytest.mark.parametrize("name", ["shop.example.pem", "a b.pem", "ü.pem", "../a.pem", "", ".pem"])
def test_a_file_name_that_the_api_would_change_is_refused(name: str) -> None:
    with pytest.raises(UnsayableError):
        words.file_name(name)


def test_a_file_name_needs_its_ending() -> None:
    assert words.file_name("hosts.map", ".map") == "hosts.map"
    with pytest.raises(UnsayableError, match=r"one ending: \.map"):
        words.file_name("hosts", ".map")
