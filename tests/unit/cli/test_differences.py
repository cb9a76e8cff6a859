"""What `config render --diff` prints."""

from __future__ import annotations

import pytest

from frontserver.cli.differences import differences

KEY = "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n"


def test_equal_configurations_have_no_differences() -> None:
    files = {"00-global.cfg": "global\n", "maps/hosts.map": "b 2\na 1\n", "certs/https.pem": KEY}

    assert list(differences(files, dict(files))) == []


def test_a_changed_file_is_a_unified_diff() -> None:
    before = {"00-global.cfg": "global\n    maxconn 1\n"}
    after = {"00-global.cfg": "global\n    maxconn 2\n"}

    assert list(differences(before, after)) == [
        "--- on disk/00-global.cfg",
        "+++ rendered/00-global.cfg",
        "@@ -1,2 +1,2 @@",
        " global",
        "-    maxconn 1",
        "+    maxconn 2",
    ]


@pytest.mark.parametrize(
    ("before", "after", "head"),
    [
        ({}, {"05-sections.cfg": "a\n"}, ["--- /dev/null", "+++ rendered/05-sections.cfg"]),
        ({"05-sections.cfg": "a\n"}, {}, ["--- on disk/05-sections.cfg", "+++ /dev/null"]),
    ],
)
def test_a_file_that_comes_or_goes_is_told_as_diff_does(
    before: dict[str, str], after: dict[str, str], head: list[str]
) -> None:
    assert list(differences(before, after))[:2] == head


def test_lines_of_a_map_that_are_out_of_use_are_no_difference() -> None:
    on_disk = {"maps/hosts.map": "a.example.com p1.0\n#.example.com p1.1\n"}
    assert list(differences(on_disk, {"maps/hosts.map": "a.example.com p1.0\n"})) == []


def test_the_order_of_a_map_is_no_difference() -> None:
    before = {"maps/hosts.map": "a 1\nb 2\nc 3\n"}

    assert list(differences(before, {"maps/hosts.map": "c 3\na 1\nb 2\n"})) == []
    assert list(differences(before, {"maps/hosts.map": "c 3\nd 4\nb 2\n"})) == [
        "--- on disk/maps/hosts.map",
        "+++ rendered/maps/hosts.map",
        "-a 1",
        "+d 4",
    ]


@pytest.mark.parametrize(
    ("before", "after", "fate"),
    [(KEY, KEY + "x", "differs"), (None, KEY, "is new"), (KEY, None, "goes")],
)
def test_of_a_certificate_nothing_is_shown(
    before: str | None, after: str | None, fate: str
) -> None:
    name = "certs/https.pem"
    files = [{} if text is None else {name: text} for text in (before, after)]

    (line,) = differences(*files)

    assert line == f"{name} {fate} (its content isn't shown)"
