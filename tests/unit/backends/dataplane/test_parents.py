"""A section has the defaults that it had, wherever the API puts it."""

from __future__ import annotations

from frontserver.backends.dataplane.document import Text
from frontserver.backends.dataplane.parents import with_parents
from frontserver.backends.dataplane.shared import one_file

OURS = "backend fs_none from fs_http\n"


def test_a_section_keeps_the_defaults_that_it_had() -> None:
    text = (
        "defaults\n    timeout client 1s\n\nfrontend one # mine\n    bind :1\n"
        "defaults # others\n    timeout client 2s\nlisten two\n    bind :2\n"
    )

    assert with_parents(text) == (
        "defaults unnamed_defaults_1\n    timeout client 1s\n\n"
        "frontend one from unnamed_defaults_1 # mine\n    bind :1\n"
        "defaults unnamed_defaults_2 # others\n    timeout client 2s\n"
        "listen two from unnamed_defaults_2\n    bind :2\n"
    )


def test_what_says_its_defaults_stays_as_it_is() -> None:
    text = (
        "global\n    maxconn 9\ndefaults base\n    mode http\n"
        "defaults more from base\nbackend b  from   base\n    server s 127.0.0.1:1\n"
    )

    assert with_parents(text) == text


def test_saying_it_twice_changes_nothing() -> None:
    once = with_parents("defaults\nbackend a\ndefaults from b\nbackend c\n")

    assert with_parents(once) == once


def test_a_name_that_is_taken_is_not_given() -> None:
    assert with_parents("defaults\ndefaults unnamed_defaults_1\n") == (
        "defaults unnamed_defaults_2\ndefaults unnamed_defaults_1\n"
    )


def test_sections_before_all_defaults_get_empty_ones() -> None:
    """Else they would have ours."""
    assert with_parents("backend lonely\n    mode http\ndefaults\n") == (
        "defaults unnamed_defaults_1\nbackend lonely from unnamed_defaults_1\n    mode http\n"
        "defaults unnamed_defaults_2\n"
    )


def test_ours_in_the_file_are_nobody_s_defaults() -> None:
    ours = f"defaults fs_http\n    mode http\n{OURS}"
    theirs = "defaults base\n    mode tcp\n"

    assert one_file(f"{theirs}{ours}backend later\n", Text(ours)) == (
        f"{theirs}backend later from base\n{ours}"
    )
