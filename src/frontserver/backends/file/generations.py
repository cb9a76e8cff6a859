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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from frontserver.errors import StorageError
from frontserver.planning.compiled import Profile, digest

MANIFEST = "manifest.json"
_KEPT = 2


class Manifest(msgspec.Struct, frozen=True):
    """What a generation holds, to recognise a HAProxy that has loaded it.

    `frontends` and `templates` are fingerprints.
    """

    frontends: str
    pools: tuple[tuple[Profile, int], ...]
    templates: str = ""

    def label(self, name: str) -> str:
        """What HAProxy calls the generation `name`, if this is what that generation holds.

        A name alone may come back, when somebody has emptied the directory.
        """
        return f"{name}-{digest(self, 8)}"


class Generations:
    """The directory of configurations. Methods block; call them from a thread."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._directory = root / "generations"
        self._newest = 0
        self.current_link = root / "current"

    def prepare(self) -> None:
        """Make the directories, readable by us alone: certificates and keys are in there."""
        with _storage("prepare"):
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
        with _storage(name):
            if draft.exists():
                # What an attempt left that failed: its files may be links to those in use.
                shutil.rmtree(draft)
            # Parents first: those that `mkdir` makes on its way have another mode.
            for directory in sorted({draft, *((draft / file).parent for file in files)}):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for file, text in files.items():
                _share_or_write(base / file if base else None, draft / file, text.encode())
            _write(draft / MANIFEST, msgspec.json.encode(manifest, enc_hook=str))
            for directory in {(draft / file).parent for file in files}:
                _sync_directory(directory)
            draft.rename(target)
            _sync_directory(self._directory)
        return target

    def read(self, generation: Path, *names: str) -> dict[str, str]:
        """The texts of a generation by file name; of all its files without `names`."""
        with _storage(generation.name):
            paths = [generation / name for name in names] or generation.rglob("[!.]*")
            return {
                str(path.relative_to(generation)): path.read_text(errors="replace")
                for path in paths
                if path.suffix in {".cfg", ".map", ".pem"} and path.is_file()
            }

    def replace(self, file: str, text: str) -> None:
        """Replace one file of the current generation; HAProxy reads it when it starts next."""
        current = self.current()
        if current is None:
            raise StorageError(f"there is no current configuration in {self._root}")
        with _storage(file):
            path = current / file
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.tmp")
            _write(draft, text.encode())
            draft.replace(path)
            _sync_directory(path.parent)

    def promote(self, generation: Path) -> None:
        """Make a generation the current one, in one step."""
        with _storage(generation.name):
            link = self._root / "current.tmp"
            link.unlink(missing_ok=True)
            link.symlink_to(generation.relative_to(self._root))
            link.replace(self.current_link)
            _sync_directory(self._root)

    def discard(self, generation: Path) -> None:
        """Remove a generation that isn't wanted after all."""
        shutil.rmtree(generation, ignore_errors=True)

    def prune(self) -> None:
        """Keep the current generation and the good one before it."""
        current = self.current()
        for path in self._all()[:-_KEPT]:
            if path != current:
                self.discard(path)

    def before(self, generation: Path) -> Path | None:
        """The newest generation older than this one: the last known good."""
        return max((p for p in self._all() if p.name < generation.name), default=None)

    def _all(self) -> list[Path]:
        with _storage("list"):
            if not self._directory.is_dir():
                return []
            return sorted(p for p in self._directory.iterdir() if p.name.isdigit())


@contextmanager
def _storage(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"the configuration can't be written ({what}): {error.strerror or error}",
            hint="see to the disk and its permissions; what runs is unchanged",
        ) from error


def _share_or_write(existing: Path | None, path: Path, content: bytes) -> None:
    """A hard link where the content is there already: files are never changed in place."""
    if existing is not None:
        try:
            if existing.read_bytes() == content:
                os.link(existing, path)
                return
        except OSError:
            pass  # Not there, or on another file system: write it.
    _write(path, content)


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
