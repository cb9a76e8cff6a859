"""`haproxy -c` and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from frontserver.errors import ConfigRejectedError, ProxyError
from frontserver.haproxy.check import check, rejection
from tests.unit.haproxy.conftest import Site

# As printed by 2.8.25.
OUTPUT = """\
[NOTICE]   (9) : haproxy version is 2.8.25-5cf5d0683
[NOTICE]   (9) : path to executable is /usr/sbin/haproxy
[ALERT]    (9) : config : parsing [/etc/x.cfg:12] : unknown keyword 'bogus' in 'frontend' section
[ALERT]    (9) : config : Error(s) found in configuration file : /etc/x.cfg
[ALERT]    (9) : config : Fatal errors found in configuration.
"""


def script(directory: Path, body: str) -> Path:
    path = directory / "program"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_a_rejection_names_reason_file_and_line() -> None:
    error = rejection(OUTPUT)
    assert error.reason == (
        "parsing [/etc/x.cfg:12] : unknown keyword 'bogus' in 'frontend' section"
    )
    assert (error.file, error.line) == ("/etc/x.cfg", 12)


def test_a_rejection_without_a_line_still_has_a_reason() -> None:
    error = rejection("[ALERT]    (9) : config : Fatal errors found in configuration.\n")
    assert error.reason == "Fatal errors found in configuration."
    assert (error.file, error.line) == (None, None)


def test_a_long_rejection_is_cut() -> None:
    assert len(rejection("x" * 10_000).reason) == 2000


async def test_a_check_that_says_nothing_is_a_rejection_all_the_same(place: Path) -> None:
    with pytest.raises(ConfigRejectedError, match="ended with 3"):
        await check(script(place, "exit 3"), place)


@pytest.mark.parametrize(
    ("files", "said"), [((), "-c -f DIR"), (("a", "b"), "-c -f DIR/a -f DIR/b")]
)
async def test_a_check_is_of_all_or_of_some_files(
    place: Path, files: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ConfigRejectedError) as caught:
        await check(script(place, 'echo "[ALERT] (1) : $*"; exit 1'), place, files)
    assert caught.value.reason == said.replace("DIR", str(place))


async def test_a_check_that_never_ends_is_killed(place: Path) -> None:
    with pytest.raises(ProxyError, match="more than"):
        await check(script(place, "exec sleep 600"), place, timeout=0.1)


async def test_a_program_that_is_not_there_is_an_error(place: Path) -> None:
    with pytest.raises(ProxyError, match="can't be run"):
        await check(place / "none", place)


async def test_our_secrets_are_not_passed_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRONTSERVER_ADMIN_TOKEN", "not-for-haproxy")
    monkeypatch.setenv("OPERATOR_VARIABLE", "for-haproxy")
    # Only what matters here: a reason is cut short, and an environment can be long.
    program = script(place, "env | grep for-haproxy; exit 1")
    with pytest.raises(ConfigRejectedError) as caught:
        await check(program, place)
    assert "not-for-haproxy" not in caught.value.reason
    assert "for-haproxy" in caught.value.reason


async def test_a_good_file_passes(site: Site) -> None:
    await check(site.program, site.config)


async def test_a_good_directory_passes(site: Site) -> None:
    await check(site.program, site.directory)


async def test_a_bad_file_is_refused_with_its_line(site: Site) -> None:
    site.config.write_text(site.config.read_text() + "  bogus keyword\n")
    with pytest.raises(ConfigRejectedError, match="bogus") as caught:
        await check(site.program, site.config)
    assert caught.value.file == str(site.config)
    assert caught.value.line == len(site.config.read_text().splitlines())


@pytest.mark.parametrize("tail", ["", "\0\n", "backend half from"])
async def test_a_file_that_was_cut_or_spoilt_is_refused(site: Site, tail: str) -> None:
    """Red list R4: a reload with it would take 3.4 down."""
    site.config.write_text(site.config.read_text().removesuffix("\n") + tail)
    with pytest.raises(ConfigRejectedError):
        await check(site.program, site.config)


async def test_a_file_that_is_not_there_is_refused(site: Site) -> None:
    """Red list R5: a reload without it would take 3.2 and later down."""
    site.config.unlink()
    with pytest.raises(ConfigRejectedError):
        await check(site.program, site.config)
