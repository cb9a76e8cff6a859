"""Finding HAProxy and asking what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from frontserver.errors import ProxyError
from frontserver.haproxy import binary
from tests.unit.haproxy.test_check import script


def test_an_explicit_program_wins(place: Path) -> None:
    assert binary.find(script(place, "exit 0")) == place / "program"


def test_an_explicit_program_must_be_executable(place: Path) -> None:
    path = script(place, "exit 0")
    path.chmod(0o644)
    with pytest.raises(ProxyError, match="not an executable"):
        binary.find(path)


def test_path_comes_before_the_bundled_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(place, "exit 0").rename(place / "haproxy")
    monkeypatch.setenv("PATH", str(place))
    assert binary.find() == place / "haproxy"


def package(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle without the executable bit, as some installers leave it."""
    program = place / "bundled_haproxy" / "bin" / "haproxy"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    (place / "bundled_haproxy" / "__init__.py").touch()
    monkeypatch.setattr(binary, "_PACKAGE", "bundled_haproxy")
    monkeypatch.syspath_prepend(place)
    monkeypatch.setenv("PATH", str(place))
    return program


def test_the_bundled_one_is_made_executable(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = package(place, monkeypatch)
    program.chmod(0o644)
    assert binary.find() == program
    assert program.stat().st_mode & 0o111


def test_without_any_the_hint_says_what_to_install(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binary, "_PACKAGE", "no_such_package")
    monkeypatch.setenv("PATH", str(place))
    with pytest.raises(ProxyError, match=r"frontserver\[embedded\]"):
        binary.find()


async def test_the_version_is_read(program: Path) -> None:
    assert (await binary.version(program)).count(".") >= 1


async def test_a_program_that_is_not_haproxy_is_refused(place: Path) -> None:
    with pytest.raises(ProxyError, match="doesn't look like HAProxy"):
        await binary.version(script(place, "echo hello"))


async def test_a_program_that_never_ends_is_killed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binary, "_SECONDS", 0.1)
    with pytest.raises(ProxyError, match="doesn't come to an end"):
        await binary.version(script(place, "exec sleep 600"))


async def test_a_program_that_cannot_be_run_is_an_error(place: Path) -> None:
    with pytest.raises(ProxyError, match="can't be run"):
        await binary.version(place / "none")
