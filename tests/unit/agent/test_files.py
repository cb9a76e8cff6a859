"""Files are whole at every moment."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from frontserver.agent import files
from frontserver.agent.errors import LocalError
from frontserver.agent.files import NewFile, Owner


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_gets_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        files.replace(tmp_path / "open", NewFile(b"a", 0o644))
    finally:
        os.umask(before)
    files.replace(tmp_path / "closed", NewFile(b"b", 0o600))
    assert (mode(tmp_path / "open"), mode(tmp_path / "closed")) == (0o644, 0o600)
    assert (tmp_path / "closed").read_bytes() == b"b"


def test_a_replacement_is_a_new_file_so_that_readers_keep_the_whole_old_one(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        files.replace(path, NewFile(b"new content", 0o600))
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new content"


@pytest.mark.parametrize("good", [0, 1, 2])
def test_a_failure_midway_leaves_the_old_files_and_no_others(tmp_path: Path, good: int) -> None:
    old = {"a": b"1", "b": b"2"}
    for name, data in old.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o640)
    done: list[Path] = []

    def rename(source: Path, target: Path) -> None:
        if len(done) == good:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        done.append(target)
        source.rename(target)

    new = {tmp_path / name: NewFile(b"new", 0o600) for name in ("a", "b", "c")}
    with pytest.raises(LocalError, match="No space left"):
        files.replace_all(new, rename=rename)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old
    assert {mode(path) for path in tmp_path.iterdir()} == {0o640}


def test_nothing_is_renamed_unless_everything_is_staged(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    new = {tmp_path / "a": NewFile(b"new", 0o600), tmp_path / "no" / "b": NewFile(b"x", 0o600)}
    with pytest.raises(LocalError, match="can't write"):
        files.replace_all(new)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"old")]


def test_what_a_killed_program_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".server.key.0123456789ab").touch()
    (tmp_path / "server.key").touch()
    files.sweep(tmp_path / "server.key")
    assert [path.name for path in tmp_path.iterdir()] == ["server.key"]


def test_a_directory_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(LocalError, match="can't write"):
        files.private_directory(tmp_path / "f" / "below")
    with pytest.raises(LocalError, match="can't write"), files.locked(tmp_path / "f"):
        pass
    with pytest.raises(LocalError, match="can't read"):
        files.read(tmp_path)
    with pytest.raises(LocalError, match="can't write"):
        files.set_access(tmp_path / "nothing", 0o700, None)


def test_users_are_named(tmp_path: Path) -> None:
    assert files.owner_named("root") == Owner(0, 0)
    with pytest.raises(LocalError, match="no user 'nobody-of-that-name'"):
        files.owner_named("nobody-of-that-name")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_gives_files_away_and_keeps_their_owner_later(tmp_path: Path) -> None:
    path = tmp_path / "f"
    files.replace(path, NewFile(b"a", 0o600), Owner(65534, 65534))
    files.replace(path, NewFile(b"b", 0o600))
    assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)
    files.private_directory(tmp_path / "d", Owner(65534, 65534))
    assert (tmp_path / "d").stat().st_uid == 65534
    assert mode(tmp_path / "d") == 0o700
