"""Where PostgreSQL is found, and what to do where it isn't."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import UnavailableError
from harness.postgresql import Postgresql, find_postgresql


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("POSTGRESQL_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))


def programs(place: Path, *names: str) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    for name in names or ("initdb", "postgres"):
        (place / name).write_text("#!/bin/sh\n")
        (place / name).chmod(0o755)
    return place


def test_the_newest_of_debians_is_taken(tmp_path: Path) -> None:
    debian = tmp_path / "debian"
    for version in ("9.6", "15", "17"):
        programs(debian / version / "bin")
    programs(debian / "18" / "bin", "psql")
    assert find_postgresql(debian) == debian / "17" / "bin"


def test_one_on_the_path_comes_first_where_it_really_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    debian = tmp_path / "debian"
    programs(debian / "17" / "bin")
    real = programs(tmp_path / "real")
    links = tmp_path / "links"
    links.mkdir()
    (links / "postgres").symlink_to(real / "postgres")
    monkeypatch.setenv("PATH", str(links))
    assert find_postgresql(debian) == real


def test_a_named_one_is_taken_or_it_is_told_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    debian = tmp_path / "debian"
    programs(debian / "17" / "bin")
    named = programs(tmp_path / "named")
    monkeypatch.setenv("POSTGRESQL_BIN", str(named))
    assert find_postgresql(debian) == named
    (named / "initdb").unlink()
    with pytest.raises(UnavailableError, match="named has no executable initdb and postgres"):
        find_postgresql(debian)


def test_where_there_is_none_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"apt install postgresql.*POSTGRESQL_BIN"):
        find_postgresql(tmp_path / "debian")


def test_only_a_server_that_starts_needs_the_driver(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    absent = "import sys; sys.modules.update(psycopg=None, docker=None, testcontainers=None)"
    subprocess.run([sys.executable, "-c", f"{absent}; from harness import Stack"], check=True)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UnavailableError, match=r"psycopg.* install the extra `harness`"):
        Postgresql(tmp_path, programs=tmp_path).start()
