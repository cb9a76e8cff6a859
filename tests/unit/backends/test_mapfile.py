"""A map file that is changed in place: whole lines or comments, whenever it is looked at."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontserver.backends.file.mapfile import MapFile, heal
from frontserver.errors import StorageError, TemplateError
from frontserver.rendering.render import map_line

KEYS = st.sampled_from([f"s{n}.apps.example.com" for n in range(6)])
VALUES = st.none() | st.sampled_from(["p1f.1", "p1f.17", "p1f.170", "a value; of # words"])
CHANGES = st.lists(st.dictionaries(KEYS, VALUES, max_size=4), max_size=8)


def loaded(content: bytes) -> dict[str, str]:
    """What HAProxy makes of a map file: comments are passed over, the first of two lines wins.

    It takes a last line that has no end as well, whatever is in it.
    """
    entries: dict[str, str] = {}
    for line in content.decode().split("\n"):
        if line and not line.startswith("#"):
            key, _, value = line.partition(" ")
            entries.setdefault(key, value)
    return entries


def made(directory: Path, entries: Mapping[str, str]) -> MapFile:
    path = directory / "hosts.map"
    content = "".join(map_line(key, value) for key, value in entries.items()).encode()
    path.write_bytes(content)
    return MapFile.of(path, content)


def applied(entries: dict[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    after = {**entries, **{k: v for k, v in changes.items() if v is not None}}
    return {key: value for key, value in after.items() if changes.get(key, "") is not None}


@given(rounds=CHANGES)
@settings(max_examples=60, deadline=None)
def test_it_says_what_was_put_last(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[dict[str, str | None]]
) -> None:
    expected = {"old.apps.example.com": "p1f.0"}
    file = made(tmp_path_factory.mktemp("map"), expected)
    for changes in rounds:
        file.update(changes)
        expected = applied(expected, changes)
        content = file.path.read_bytes()
        assert loaded(content) == expected
        # Also by whoever knows nothing of how it came to be.
        assert file.intact
        again = MapFile.of(file.path, content)
        again.update({"x.apps.example.com": "p1f.9"})
        assert loaded(file.path.read_bytes()) == {**expected, "x.apps.example.com": "p1f.9"}
        again.update({"x.apps.example.com": None})
        file = again


class CrashError(Exception):
    """The machine stops."""


@given(
    first=st.dictionaries(KEYS, VALUES.filter(bool), max_size=5),
    changes=st.dictionaries(KEYS, VALUES, min_size=1, max_size=5),
    calls=st.integers(0, 8),
    share=st.floats(0, 1),
)
@settings(max_examples=150, deadline=None)
def test_a_crash_at_any_byte_leaves_each_entry_as_it_was_or_as_it_becomes_or_out(
    tmp_path_factory: pytest.TempPathFactory,
    first: dict[str, str],
    changes: dict[str, str | None],
    calls: int,
    share: float,
) -> None:
    """The write that is under way reaches the disk up to some byte; none of a half line counts."""
    file = made(tmp_path_factory.mktemp("map"), first)
    done = 0
    pwrite = os.pwrite

    def crashing(descriptor: int, data: bytes, offset: int) -> int:
        nonlocal done
        if done == calls:
            pwrite(descriptor, data[: int(len(data) * share)], offset)
            raise CrashError
        done += 1
        return pwrite(descriptor, data, offset)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", crashing)
        with contextlib.suppress(CrashError):
            file.update(changes)
    after = applied(first, changes)
    for key, value in loaded(file.path.read_bytes()).items():
        assert value in (first.get(key), after.get(key)), key
    untouched = {key: value for key, value in first.items() if key not in changes}
    assert untouched.items() <= loaded(file.path.read_bytes()).items()


def test_one_entry_costs_the_same_in_a_long_map_and_in_a_short_one(tmp_path: Path) -> None:
    costs = []
    for size in (100, 20_000):
        directory = tmp_path / str(size)
        directory.mkdir()
        file = made(directory, {f"s{n}.apps.example.com": f"p1f.{n}" for n in range(size)})
        inode = file.path.stat().st_ino
        added = file.update({"new.apps.example.com": "p1f.99999"})
        moved = file.update({"s7.apps.example.com": "p1f.99998"})
        gone = file.update({"s8.apps.example.com": None})
        assert file.path.stat().st_ino == inode, "it wasn't written anew"
        costs.append((added, moved, gone))
    assert costs[0] == costs[1]


def test_what_is_out_of_use_is_dropped_now_and_then(tmp_path: Path) -> None:
    file = made(tmp_path, {"stays.apps.example.com": "p1f.0"})
    written = 0
    for number in range(6000):
        written += file.update({"moves.apps.example.com": f"p1f.{number}"})
    size = file.path.stat().st_size
    assert size < 200_000
    assert written < 6000 * 120
    assert loaded(file.path.read_bytes()) == {
        "stays.apps.example.com": "p1f.0",
        "moves.apps.example.com": "p1f.5999",
    }


def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {"a.apps.example.com": "p1f.1", "b.apps.example.com": "p1f.2"}
    file = made(tmp_path, before)
    pwrite = os.pwrite

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if offset >= len(content):
            pwrite(descriptor, data[:5], offset)
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(descriptor, data, offset)

    content = file.path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space"):
            file.update({"a.apps.example.com": "p1f.3", "b.apps.example.com": None})
    assert file.path.read_bytes() == content

    file.update({"a.apps.example.com": "p1f.3", "b.apps.example.com": None})
    assert loaded(file.path.read_bytes()) == {"a.apps.example.com": "p1f.3"}


def test_a_change_by_somebody_else_is_noticed(tmp_path: Path) -> None:
    file = made(tmp_path, {"a.apps.example.com": "p1f.1"})
    assert file.intact
    with file.path.open("a") as other:
        other.write("b.apps.example.com p1f.2\n")
    assert not file.intact
    with pytest.raises(StorageError, match="somebody else"):
        file.copy(tmp_path / "draft.map", tmp_path / "copy.map")
    file.path.unlink()
    assert not file.intact


def test_a_file_that_is_shared_is_not_changed_in_place(tmp_path: Path) -> None:
    file = made(tmp_path, {"a.apps.example.com": "p1f.1"})
    os.link(file.path, tmp_path / "last-good.map")
    file.update({"a.apps.example.com": "p1f.2"})
    assert loaded((tmp_path / "last-good.map").read_bytes()) == {"a.apps.example.com": "p1f.1"}
    assert loaded(file.path.read_bytes()) == {"a.apps.example.com": "p1f.2"}


def test_a_copy_goes_its_own_way(tmp_path: Path) -> None:
    file = made(tmp_path, {"a.apps.example.com": "p1f.1"})
    copy = file.copy(tmp_path / "draft.map", tmp_path / "copy.map")
    (tmp_path / "draft.map").rename(tmp_path / "copy.map")
    assert copy.intact
    copy.update({"a.apps.example.com": "p1f.2", "b.apps.example.com": "p1f.3"})
    assert loaded(file.path.read_bytes()) == {"a.apps.example.com": "p1f.1"}
    assert loaded((tmp_path / "copy.map").read_bytes()) == {
        "a.apps.example.com": "p1f.2",
        "b.apps.example.com": "p1f.3",
    }


def test_what_is_no_entry_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    file = made(tmp_path, {"a.apps.example.com": "p1f.1"})
    content = file.path.read_bytes()
    with pytest.raises(TemplateError):
        file.update({"b.apps.example.com": "two\nlines", "a.apps.example.com": None})
    assert file.path.read_bytes() == content


def test_half_a_line_at_the_end_is_taken_out(tmp_path: Path) -> None:
    path = tmp_path / "hosts.map"
    path.write_bytes(b"a.apps.example.com p1f.1\nb.apps.example.com p1f.1")
    assert heal(path)
    assert path.read_bytes() == b"a.apps.example.com p1f.1\n"
    assert not heal(path)
    path.write_bytes(b"no line at all")
    assert heal(path)
    assert path.read_bytes() == b""
