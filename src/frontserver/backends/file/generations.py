"""Configurations on disk.

    CONFIG_DIR/generations/000041/   a configuration, as HAProxy loaded it, with its manifest
    CONFIG_DIR/generations/000042/
    CONFIG_DIR/current → generations/000042

HAProxy is started with `-f CONFIG_DIR/current`. The link is swapped in one rename, and files are
only ever replaced by rename, so that HAProxy finds a whole configuration whenever it looks.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from frontserver.backends import durable
from frontserver.backends.file.mapfile import heal
from frontserver.backends.file.tree import Tree
from frontserver.backends.manifest import Manifest
from frontserver.haproxy import procfs
from frontserver.planning.compiled import MAPS
from frontserver.rendering.render import FRAME

# Of a configuration whose files are divided as `shards` says. Another one isn't known for ours.
MANIFEST = "manifest-2.json"
# There where HAProxy was seen to run the generation: of a draft nobody knows.
_RAN = "ran"


class Generations:
    """The directory of configurations. Methods block; call them from a thread."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._directory = root / "generations"
        self._newest = 0
        self.current_link = root / "current"

    def prepare(self) -> None:
        """Make the directories, readable by us alone: certificates and keys are in there."""
        with durable.storage("prepare"):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for leftover in self._directory.glob("*.tmp"):
                shutil.rmtree(leftover, ignore_errors=True)

    def current(self) -> Path | None:
        """The generation that HAProxy loads when it starts, if there is one."""
        try:
            return self._root / os.readlink(self.current_link)  # noqa: PTH115 (keeps it relative)
        except OSError:
            return None

    def next_name(self) -> str:
        """The name of a new generation, greater than all there are."""
        # Those that were discarded count too: HAProxy may come to run one after all.
        self._newest = max([self._newest, *(int(path.name) for path in self._all())]) + 1
        return f"{self._newest:06d}"

    def path(self, name: str) -> Path:
        """Where the generation of this name is, or would be."""
        return self._directory / name

    def manifest(self, name: str) -> Manifest | None:
        """The manifest of a generation; `None` if it is gone or unreadable."""
        try:
            content = (self.path(name) / MANIFEST).read_bytes()
            return msgspec.json.decode(content, type=Manifest)
        except (OSError, msgspec.MsgspecError):
            return None

    def write(self, name: str, files: Mapping[str, str], manifest: Manifest) -> Path:
        """Write a whole generation; files that the current one has too are shared with it."""
        target = self.path(name)
        base = self.current()
        draft = target.with_suffix(".tmp")
        with durable.storage(name):
            if draft.exists():
                # What an attempt left that failed: its files may be links to those in use.
                shutil.rmtree(draft)
            # Parents first: those that `mkdir` makes on its way have another mode.
            for directory in sorted({draft, *((draft / file).parent for file in files)}):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for file, text in files.items():
                shared = base / file if base and file not in MAPS else None
                _share_or_write(shared, draft / file, text.encode())
            durable.write(draft / MANIFEST, msgspec.json.encode(manifest, enc_hook=str))
            for directory in {(draft / file).parent for file in files}:
                durable.sync_directory(directory)
            draft.rename(target)
            durable.sync_directory(self._directory)
        return target

    def read(self, generation: Path, *names: str) -> dict[str, str]:
        """The texts of a generation by file name; of all its files without `names`."""
        with durable.storage(generation.name):
            paths = [generation / name for name in names] or generation.rglob("[!.]*")
            return {
                str(path.relative_to(generation)): path.read_text(errors="replace")
                for path in paths
                if path.suffix in {".cfg", ".map", ".pem"} and path.is_file()
            }

    def derive(
        self,
        name: str,
        base: Tree,
        keep: Iterable[str],
        files: Mapping[str, str],
        manifest: Manifest,
    ) -> Tree:
        """Write a generation that has most of its files in common with another one."""
        content = msgspec.json.encode(manifest, enc_hook=str).decode()
        with durable.storage(name):
            return base.derive(self.path(name), tuple(keep), {**files, MANIFEST: content})

    def heal(self, generation: Path) -> list[str]:
        """Cut half lines off maps that somebody else has left; returns the maps that had one."""
        with durable.storage(generation.name):
            return [
                name for name in MAPS if (generation / name).is_file() and heal(generation / name)
            ]

    def promote(self, generation: Path) -> None:
        """Make a generation the current one, in one step."""
        with durable.storage(generation.name):
            link = self._root / "current.tmp"
            link.unlink(missing_ok=True)
            link.symlink_to(generation.relative_to(self._root))
            link.replace(self.current_link)
            durable.sync_directory(self._root)

    def discard(self, generation: Path) -> None:
        """Remove a generation that isn't wanted after all; `prune` does later what must wait."""
        # 2.8's and 3.0's master stays where it read a configuration that it refused, and never
        # reads another one if that place is gone.
        if procfs.is_working_directory(generation):
            return
        for path in (generation, generation.with_suffix(".tmp")):
            shutil.rmtree(path, ignore_errors=True)

    def lost(self, generation: Path) -> list[str]:
        """What every generation has, and this one no longer; HAProxy may load it all the same."""
        return [name for name in FRAME if not (generation / name).is_file()]

    def mark(self, generation: Path) -> None:
        """HAProxy was seen to run this one."""
        with durable.storage(generation.name):
            (generation / _RAN).touch(mode=0o600)

    def prune(self) -> None:
        """Keep the current generation and the good one before it."""
        current = self.current()
        kept = (current, self.before(current) if current else None)
        for path in self._all():
            if path not in kept:
                self.discard(path)

    def before(self, generation: Path) -> Path | None:
        """The newest generation older than this one that HAProxy ran: the last known good."""
        older = (p for p in self._all() if p.name < generation.name and (p / _RAN).exists())
        return max(older, default=None)

    def _all(self) -> list[Path]:
        with durable.storage("list"):
            if not self._directory.is_dir():
                return []
            return sorted(p for p in self._directory.iterdir() if p.name.isdigit())


def _share_or_write(existing: Path | None, path: Path, content: bytes) -> None:
    """A hard link where the content is there already; not for maps, which change in place."""
    if existing is not None:
        try:
            if existing.read_bytes() == content:
                os.link(existing, path)
                return
        except OSError:
            pass  # Not there, or on another file system: write it.
    durable.write(path, content)
