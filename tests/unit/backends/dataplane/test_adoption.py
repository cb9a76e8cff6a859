"""Our lines in frontends of the operator's: there once, at the end, and gone when they should."""

from __future__ import annotations

import pytest

from frontserver.backends.dataplane.document import Text
from frontserver.backends.dataplane.shared import one_file
from frontserver.errors import ConfigRejectedError

OURS = "backend fs_none from fs_http\n"
LINES = """\
    # Of ours.
    http-request set-var(txn.fs_host) req.hdr(host)

    use_backend %[var(txn.fs_backend)] if { var(txn.fs_backend) -m found }
"""
SNI = "    use_backend %[var(sess.fs_backend)] if { var(sess.fs_backend) -m found }\n"
THEIRS = """\
defaults base
    mode http

defaults web from base
    timeout client 5s

frontend www from web # the site
    bind :80
    default_backend home

# About the next one.
listen databases from web
    mode tcp
    bind :27017

backend home from web
    http-request deny
"""


def file_with(theirs: str = THEIRS, **adopted: tuple[str, str]) -> str:
    return one_file(theirs, Text(OURS, adopted)).removesuffix(OURS)


def test_lines_come_to_the_end_of_a_frontend_without_our_comments() -> None:
    after = "    default_backend home\n"
    ours = "".join(line for line in LINES.splitlines(keepends=True) if "fs_" in line)
    assert file_with(www=("http", LINES)) == THEIRS.replace(after, after + ours)


def test_the_same_again_changes_nothing() -> None:
    once = file_with(www=("http", LINES), databases=("tcp", SNI))
    assert file_with(once, www=("http", LINES), databases=("tcp", SNI)) == once


def test_what_is_named_no_more_is_as_it_was() -> None:
    assert file_with(file_with(www=("http", LINES))) == THEIRS


def test_lines_that_were_moved_and_written_otherwise_are_known_again() -> None:
    moved = THEIRS.replace(
        "    bind :80\n", "  bind :80\n  use_backend %[var(txn.fs_backend)] if { always_true }\n"
    )
    assert file_with(moved, www=("http", LINES)).count("use_backend") == 1


def test_a_frontend_that_looks_for_a_name_waits_for_it() -> None:
    with_one = file_with(databases=("tcp", SNI))
    assert "    bind :27017\n    tcp-request inspect-delay 5s\n" + SNI in with_one

    own = THEIRS.replace("    bind :27017\n", "    bind :27017\n    tcp-request inspect-delay 9s\n")
    assert "inspect-delay 5s" not in file_with(own, databases=("tcp", SNI))


def test_a_last_line_without_an_end_is_none_of_ours() -> None:
    theirs = "frontend www\n    mode http"
    assert "    mode http\n    http-request" in file_with(theirs, www=("http", LINES))


@pytest.mark.parametrize(
    ("name", "mode", "says"),
    [
        ("absent", "http", "HTTP_FRONTENDS: .* no frontend absent; it has: databases, www"),
        ("home", "http", "no frontend home"),
        ("www", "tcp", "www is in mode http, not tcp; .*DATAPLANE_HTTP_FRONTENDS"),
        ("databases", "http", "databases is in mode tcp, not http"),
    ],
)
def test_what_cannot_be_adopted_is_refused(name: str, mode: str, says: str) -> None:
    with pytest.raises(ConfigRejectedError, match=says):
        file_with(**{name: (mode, LINES)})


def test_without_a_mode_anywhere_it_is_tcp() -> None:
    theirs = "frontend www\n    bind :80\n"
    with pytest.raises(ConfigRejectedError, match="www is in mode tcp"):
        file_with(theirs, www=("http", LINES))


def test_a_mode_that_nothing_of_ours_goes_with_is_refused() -> None:
    theirs = "frontend www\n    mode log\n"
    with pytest.raises(ConfigRejectedError, match=r"www is in mode log, not http$"):
        file_with(theirs, www=("http", LINES))


def test_defaults_that_go_round_in_a_circle_end() -> None:
    theirs = "defaults a from b\ndefaults b from a\nfrontend www from a\n"
    with pytest.raises(ConfigRejectedError, match="mode tcp"):
        file_with(theirs, www=("http", LINES))
