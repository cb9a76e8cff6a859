"""A map file that is changed in place, at the cost of the change, and is never read half written.

HAProxy takes whatever it finds: of a line that was cut short, a key with half a value, which may be
another route's backend. But a line that begins with `#` is nothing to it. So a new line is first
written behind a `#`, made durable, and only then does one byte bring it to life; one byte takes a
line out again. A crash at any moment leaves lines that are whole, or comments.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from frontserver.backends import durable
from frontserver.errors import StorageError
from frontserver.rendering.render import map_line

# Below this many bytes it isn't worth while to drop lines that are out of use.
_LEAST_WASTE = 64 * 1024
_OUT = b"#"


class MapFile:
    """One map file, known line by line. Methods block; `StorageError` is the caller's to make."""

    def __init__(self, path: Path, offsets: dict[str, int], size: int, waste: int) -> None:
        self.path = path
        self._offsets = offsets
        self._size = size
        self._waste = waste
        self._stamp = durable.stamp(path)

    @classmethod
    def of(cls, path: Path, content: bytes) -> MapFile:
        """The file at `path`, which holds `content`: lines of ours, each key once."""
        offsets: dict[str, int] = {}
        at = waste = 0
        for line in content.splitlines(keepends=True):
            if line.startswith(_OUT):
                waste += len(line)
            else:
                offsets[line.partition(b" ")[0].decode()] = at
            at += len(line)
        return cls(path, offsets, at, waste)

    @property
    def intact(self) -> bool:
        """Whether nobody else has changed the file since we did."""
        return self._stamp is not None and self._stamp == durable.stamp(self.path)

    def copy(self, draft: Path, path: Path) -> MapFile:
        """Write a copy to `draft`, which will be at `path` in the end."""
        durable.write(draft, self._read())
        made = MapFile(draft, dict(self._offsets), self._size, self._waste)
        made.path = path
        return made

    def update(self, changes: Mapping[str, str | None]) -> int:
        """Set keys to values, and take out those with `None`; returns the bytes written.

        Raises `OSError` if it can't, with nothing changed that HAProxy would notice, and
        `TemplateError` for what isn't a map entry.
        """
        lines = {k: map_line(k, v).encode() for k, v in changes.items() if v is not None}
        gone = [offset for key in changes if (offset := self._offsets.get(key)) is not None]
        if not lines and not gone:
            return 0
        with self.path.open("r+b", buffering=0) as file:
            waste = self._waste + self._length_of(file.fileno(), gone)
            shared = os.fstat(file.fileno()).st_nlink > 1
            if shared or waste > max(_LEAST_WASTE, self._size - waste):
                return self._compact(lines, changes)
            return self._edit(file.fileno(), lines, gone, changes, waste)

    def _edit(
        self,
        descriptor: int,
        lines: Mapping[str, bytes],
        gone: Sequence[int],
        changes: Mapping[str, str | None],
        waste: int,
    ) -> int:
        fresh, offsets = self._laid_out(lines)
        alive = b"".join(lines.values())
        if fresh:
            try:
                _write_all(descriptor, fresh, self._size)
                os.fdatasync(descriptor)
            except OSError:
                os.ftruncate(descriptor, self._size)
                raise
        # Old lines go first: of two with one key, HAProxy would take the old one.
        for offset in gone:
            _write_all(descriptor, _OUT, offset)
        if fresh:
            _write_all(descriptor, alive, self._size)
        os.fdatasync(descriptor)
        for key in changes:
            self._offsets.pop(key, None)
        self._offsets.update(offsets)
        self._size += len(alive)
        self._waste = waste
        self._stamp = durable.stamp(self.path)
        return 2 * len(alive) + len(gone)

    def _laid_out(self, lines: Mapping[str, bytes]) -> tuple[bytes, dict[str, int]]:
        """The lines to append, as comments still, and where each will be."""
        offsets: dict[str, int] = {}
        at = self._size
        for key, line in lines.items():
            offsets[key] = at
            at += len(line)
        return b"".join(_OUT + line[1:] for line in lines.values()), offsets

    def _length_of(self, descriptor: int, offsets: Iterable[int]) -> int:
        """How many bytes the lines at these offsets have, near enough: lines are short."""
        return sum(len(os.pread(descriptor, 8192, at).partition(b"\n")[0]) + 1 for at in offsets)

    def _compact(self, lines: Mapping[str, bytes], changes: Mapping[str, str | None]) -> int:
        content = self._read()
        kept = (
            content[at : content.index(b"\n", at) + 1]
            for key, at in self._offsets.items()
            if key not in changes
        )
        compact = b"".join([*kept, *lines.values()])
        durable.replace(self.path, compact)
        durable.sync_directory(self.path.parent)
        anew = MapFile.of(self.path, compact)
        self._offsets, self._size, self._waste = anew._offsets, anew._size, 0  # noqa: SLF001
        self._stamp = anew._stamp  # noqa: SLF001
        return len(compact)

    def _read(self) -> bytes:
        content = self.path.read_bytes()
        if len(content) != self._size:
            raise StorageError(f"{self.path} was changed by somebody else")
        return content


def heal(path: Path) -> bool:
    """Take out a last line that has no end; returns whether there was one."""
    content = path.read_bytes()
    if not content or content.endswith(b"\n"):
        return False
    durable.replace(path, content[: content.rfind(b"\n") + 1])
    durable.sync_directory(path.parent)
    return True


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
