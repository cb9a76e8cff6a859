"""The program on disk, which an upgrade may replace."""

from __future__ import annotations

from pathlib import Path

import pytest

from frontserver.errors import ProxyError
from frontserver.haproxy import binary
from frontserver.haproxy.program import Program


def install(path: Path, version: str) -> None:
    """Put a program in place that says it is HAProxy, as a package does: by renaming."""
    fresh = path.with_suffix(".new")
    fresh.write_text(
        f'#!/bin/sh\necho x >> "$0.asked"\necho "HAProxy version {version} 2026/01/01"\n'
    )
    fresh.chmod(0o755)
    fresh.replace(path)


async def test_the_version_is_asked_once_until_the_file_is_another(tmp_path: Path) -> None:
    path = tmp_path / "haproxy"
    install(path, "3.2.25-1")
    program = Program(path)
    assert [await program.version() for _ in range(3)] == ["3.2.25-1"] * 3
    asked = tmp_path / "haproxy.asked"
    assert asked.read_text().count("x") == 1
    install(path, "3.2.26-1")
    assert await program.version() == "3.2.26-1"
    path.unlink()
    with pytest.raises(ProxyError, match="can't be run"):
        await program.version()


async def test_it_is_what_the_program_itself_says(program: Path) -> None:
    assert await Program(program).version() == await binary.version(program)
