"""Who isn't root: runs what root must not, and may work on what was made for it."""

from __future__ import annotations

import contextlib
import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# Works for whoever runs the harness as root: known by name to agents here.
NOBODY = "nobody"


class Owner(NamedTuple):
    """The ids of a user and a group; as a string, `USER:GROUP`."""

    user: int
    group: int

    def __str__(self) -> str:
        return f"{self.user}:{self.group}"


def unprivileged() -> Owner:
    """Whoever runs the harness, or nobody if that is root."""
    if os.getuid() != 0:
        return Owner(os.getuid(), os.getgid())
    nobody = pwd.getpwnam(NOBODY)
    return Owner(nobody.pw_uid, nobody.pw_gid)


def hand_over(directory: Path) -> None:
    """Give nobody a directory with all that is in it, and a way to it. Only root needs to."""
    if os.getuid() != 0:
        return
    owner = unprivileged()
    open_the_way(directory)
    for path in _everything(directory):
        # What runs already makes and removes files.
        with contextlib.suppress(FileNotFoundError):
            os.chown(path, owner.user, owner.group, follow_symlinks=False)


def show(path: Path) -> None:
    """Make a file or a directory below the temporary one readable to others."""
    open_the_way(path)
    for each in (path, *path.rglob("*")):
        each.chmod(each.stat().st_mode | (0o055 if each.is_dir() else 0o044))


def open_the_way(path: Path) -> None:
    """Let others through the directories from the temporary one to a path below it."""
    start = Path(tempfile.gettempdir())
    for parent in path.parents:
        if not parent.is_relative_to(start):
            break
        parent.chmod(parent.stat().st_mode | 0o011)


def _everything(directory: Path) -> Iterator[Path]:
    yield directory
    # Unlike `rglob` it goes on when a directory goes away.
    for place, directories, files in os.walk(directory):
        yield from (Path(place, name) for name in (*directories, *files))
