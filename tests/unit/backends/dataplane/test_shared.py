"""One file for two: what is the operator's stays byte for byte, what is ours is replaced."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontserver.backends.dataplane.shared import merged
from frontserver.errors import ConfigRejectedError

OURS = """\
defaults fs_http
    mode http
    # Ours, within a section.

frontend fs_in_http from fs_http
    bind 127.0.0.1:80
# Ours, before a section.
backend fs_none from fs_http
defaults p0123456789ab from fs_http
backend p0123456789ab.0 from p0123456789ab
    server t1 10.0.0.1:80
backend fs_rev_000001-0a0b0c0d from fs_http
"""
# What we wrote before, with other slots and another marker.
FORMER = OURS.replace("000001-0a0b0c0d", "000000-ffffffff").replace("10.0.0.1", "10.0.0.9")

_BODY = st.sampled_from(
    [
        "    mode http\n",
        "\tbind :8080  # the shop\n",
        "    server web 10.1.0.1:80 check\n",
        "    # a remark\n",
        "\n",
        "    acl backend path /x\n",
        "    acl odd path /\u2028backend fs_x\n",
        '    http-request return string "backend fs_x"\n',
    ]
)
_NAMES = st.sampled_from(["shop", "fsx", "p0123", "p0123456789abc", "Fs_http", "p0123456789ab.x"])
_SECTIONS = st.builds(
    lambda comment, kind, name, body: f"{comment}{kind} {name}\n{''.join(body)}",
    st.sampled_from(["", "# the operator's\n", "\n", "#\n# two lines\n"]),
    st.sampled_from(
        ["frontend", "backend", "listen", "userlist", "defaults", "cache", "resolvers"]
    ),
    _NAMES,
    st.lists(_BODY, max_size=5),
)
OPERATORS = st.lists(_SECTIONS, max_size=5).map(
    lambda sections: "global\n    maxconn 100\n" + "".join(sections)
)


@given(OPERATORS)
def test_all_of_the_operators_stays_and_ours_comes_after_it(theirs: str) -> None:
    assert merged(theirs, OURS) == theirs + OURS


@given(OPERATORS)
def test_what_was_ours_is_replaced(theirs: str) -> None:
    assert merged(merged(theirs, FORMER), OURS) == theirs + OURS


@given(OPERATORS)
def test_merging_again_changes_nothing(theirs: str) -> None:
    once = merged(theirs, OURS)
    assert merged(once, OURS) == once


@given(OPERATORS, OPERATORS)
def test_ours_may_stand_in_the_midst(before: str, after: str) -> None:
    """The API puts sections in an order of its own."""
    after = after.lstrip("\n")
    assert merged(before + FORMER + after, OURS) == before + after + OURS


def test_a_remark_of_the_operators_before_a_section_of_ours_stays() -> None:
    theirs = "backend shop\n    mode http\n# the last word\n\n"
    assert merged(theirs + FORMER, OURS) == theirs + OURS


def test_a_last_line_without_an_end_gets_one() -> None:
    assert merged("global\n    maxconn 100", OURS) == "global\n    maxconn 100\n" + OURS


def test_an_empty_file_becomes_ours() -> None:
    assert merged("", OURS) == OURS


def test_the_api_writes_its_own_header() -> None:
    header = "# _md5hash=7eb51c6756b1b7ad09afe012b63488d5\n# _version=2\n\n"
    assert merged(header + "global\n", OURS) == "\nglobal\n" + OURS


@pytest.mark.parametrize("name", ["fs_http", "p0123456789ab", "p0123456789ab.17"])
@pytest.mark.parametrize("kind", ["listen", "userlist", "peers", "cache"])
def test_a_kind_of_section_that_we_never_write_is_never_ours(kind: str, name: str) -> None:
    theirs = f"{kind} {name}\n    anything\n"
    assert merged(theirs, OURS) == theirs + OURS


@pytest.mark.parametrize("line", [".if defined(X)", "    .endif", ".else", "\t.elif true"])
def test_a_file_with_conditions_is_refused_with_what_to_do(line: str) -> None:
    with pytest.raises(ConfigRejectedError, match="FRONTSERVER_DATAPLANE_FILE=own"):
        merged(f"global\n{line}\n", OURS)
