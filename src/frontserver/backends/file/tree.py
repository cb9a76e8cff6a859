"""The files of one generation, as we wrote them last: what needn't be written again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from frontserver.backends import durable
from frontserver.backends.durable import Stamp
from frontserver.backends.file.mapfile import MapFile
from frontserver.planning.compiled import MAPS


class Tree:
    """Knows what is on disk at `root`. Methods block; one at a time."""

    def __init__(
        self, root: Path, stamps: dict[str, Stamp | None], maps: dict[str, MapFile]
    ) -> None:
        self.root = root
        self._stamps = stamps
        self._maps = maps

    @classmethod
    def unknown(cls, root: Path) -> Tree:
        """Nothing is known of what is there: all of it will be written when it is put."""
        return cls(root, {}, {})

    @classmethod
    def written(cls, root: Path, files: Mapping[str, str]) -> Tree:
        """These files were just written there."""
        stamps = {name: durable.stamp(root / name) for name in files if name not in MAPS}
        maps = {name: MapFile.of(root / name, files[name].encode()) for name in MAPS}
        return cls(root, stamps, maps)

    def is_intact(self, name: str) -> bool:
        """Whether a file is as we left it."""
        if name in MAPS:
            return name in self._maps and self._maps[name].intact
        known = self._stamps.get(name)
        return known is not None and known == durable.stamp(self.root / name)

    def put(self, files: Mapping[str, str]) -> int:
        """Replace whole files where they differ; returns the bytes written."""
        written = 0
        directories: set[Path] = set()
        for name, text in files.items():
            path, content = self.root / name, text.encode()
            if not _holds(path, content):
                directories.add(path.parent)
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                durable.replace(path, content)
                written += len(content)
            if name in MAPS:
                self._maps[name] = MapFile.of(path, content)
            else:
                self._stamps[name] = durable.stamp(path)
        for directory in sorted(directories):
            durable.sync_directory(directory)
        return written

    def update(self, changes: Mapping[str, Mapping[str, str | None]]) -> int:
        """Set and take out entries of maps that are intact; returns the bytes written."""
        return sum(self._maps[name].update(content) for name, content in changes.items())

    def derive(self, root: Path, keep: Iterable[str], files: Mapping[str, str]) -> Tree:
        """A new tree at `root`: `keep` shared with this one, all maps copied, `files` written.

        It is put in place in one step, whole. Raises `OSError`.
        """
        draft = root.with_suffix(".tmp")
        if draft.exists():
            # What an attempt left that failed: its files may be links to those in use.
            shutil.rmtree(draft)
        # Parents first: those that `mkdir` makes on its way have another mode.
        for directory in sorted({draft, *((draft / f).parent for f in (*keep, *files, *MAPS))}):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        stamps = {}
        for name in keep:
            os.link(self.root / name, draft / name)
            stamps[name] = self._stamps.get(name)
        for name, text in files.items():
            durable.write(draft / name, text.encode())
            stamps[name] = durable.stamp(draft / name)
        maps = {name: self._maps[name].copy(draft / name, root / name) for name in MAPS}
        for directory in {draft, *((draft / name).parent for name in (*files, *MAPS))}:
            durable.sync_directory(directory)
        draft.rename(root)
        durable.sync_directory(root.parent)
        return Tree(root, stamps, maps)


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False
