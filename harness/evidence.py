"""What a stack knows about itself, copied to where it outlives a failed test."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from harness.errors import HarnessError

# By name below the folder of a part: a file or a directory to copy, or what gives a text.
Evidence = Mapping[str, Path | Callable[[], str]]

_DEFAULT = Path(".evidence")
# Large, secret, or both.
_CERTIFICATES = ("certs", "ssl", "*.pem", "*.crt", "*.key")
_LOGS = "*.log*"
_PRIVATE_KEY = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)


def collect(parts: Mapping[str, Callable[[], Evidence]], target: Path) -> None:
    """Copy what each part has to show to a folder of its name in `target`, which is made anew.

    What couldn't be had is told in `errors.txt`, and keeps nothing else away. Certificates are left
    out, and private keys in whatever file they are. Raises `OSError` if nothing can be written.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    folder = _Folder(target)
    for name, part in parts.items():
        folder.add_part(Path(name), part)
    folder.add_errors()


def logs_below(directory: Path) -> Evidence:
    """Every log in a directory, however deep, by its path there."""
    return {
        str(path.relative_to(directory)): path
        for path in _files(directory)
        if fnmatch(path.name, _LOGS)
    }


class Shelf:
    """A directory with a folder for each stack, and what else there is to tell.

    Unless it is `shared`, what an earlier run left there goes when the first folder comes. Errors
    of the kinds `unless` are no reason to keep anything.
    """

    def __init__(
        self,
        directory: Path,
        *,
        shared: bool = False,
        unless: tuple[type[BaseException], ...] = (),
    ) -> None:
        self.unless: tuple[type[BaseException], ...] = (GeneratorExit, *unless)
        self._directory = directory
        self._is_old = not shared
        self._has_any = False

    def keep(self, parts: Mapping[str, Callable[[], Evidence]], name: str) -> Path:
        """Collect into the folder `name`, which is returned. Raises `OSError`."""
        if self._is_old:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._is_old = False
        place = self._directory.absolute() / name
        collect(parts, place)
        self._has_any = True
        return place

    def tell(self, name: str, text: str) -> None:
        """Add to the file `name` beside the folders, if there are any. Raises `OSError`."""
        if self._has_any:
            with (self._directory / name).open("ab") as file:
                file.write(_without_keys(text.encode(errors="replace")))


# Without a plugin that knows which test it is.
_shelves = [Shelf(_DEFAULT, shared=True)]


def shelf() -> Shelf:
    """Where evidence goes now."""
    return _shelves[-1]


@contextmanager
def kept_on(shelf: Shelf) -> Iterator[None]:
    """Evidence goes there within the block."""
    _shelves.append(shelf)
    try:
        yield
    finally:
        _shelves.remove(shelf)


class _Folder:
    """The evidence of one stack. Nothing that goes wrong here may hide why it is collected."""

    def __init__(self, target: Path) -> None:
        self._errors: list[str] = []
        self._target = target

    def add_part(self, name: Path, part: Callable[[], Evidence]) -> None:
        with self._guarded(name):
            for item, source in part().items():
                self._add(name / item, source)

    def add_errors(self) -> None:
        if self._errors:
            self._write_text(Path("errors.txt"), "\n".join([*self._errors, ""]))

    def _add(self, name: Path, source: Path | Callable[[], str]) -> None:
        with self._guarded(name):
            if not isinstance(source, Path):
                self._write_text(name, source())
            elif source.is_dir():
                for file in _files(source, partial(self._tell, name)):
                    self._add(name / file.relative_to(source), file)
            elif source.is_file():
                self._write(name, source.read_bytes())
            else:
                raise HarnessError(f"there is no file {source}")

    def _write_text(self, name: Path, text: str) -> None:
        self._write(name, text.encode(errors="replace"))

    def _write(self, name: Path, content: bytes) -> None:
        copy = self._target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(_without_keys(content))

    @contextmanager
    def _guarded(self, name: Path) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, the rest is still to be had
            self._tell(name, error)

    def _tell(self, name: Path, error: Exception) -> None:
        self._errors.append(f"{name}: {type(error).__name__}: {error}")


def _files(directory: Path, on_error: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    """Every regular file in a directory without those of certificates. It may go meanwhile."""
    for place, directories, names in os.walk(directory, onerror=on_error):
        directories[:] = filter(_is_shown, directories)
        paths = (Path(place, name) for name in sorted(names) if _is_shown(name))
        yield from (path for path in paths if path.is_file())


def _is_shown(name: str) -> bool:
    return not any(fnmatch(name, pattern) for pattern in _CERTIFICATES)


def _without_keys(content: bytes) -> bytes:
    return _PRIVATE_KEY.sub(b"(a private key, left out)", content)
