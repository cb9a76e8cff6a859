"""Files that must be whole at every moment: written beside, synced, then renamed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from frontserver.agent.errors import LocalError


class Owner(msgspec.Struct, frozen=True):
    """Numeric user and group that files are given to."""

    uid: int
    gid: int


class NewFile(msgspec.Struct, frozen=True):
    """What a file shall hold, and its mode."""

    data: bytes
    mode: int


def is_root() -> bool:
    """Whether the effective user is root."""
    return os.geteuid() == 0


def mongod_owner() -> Owner | None:
    """For root, the user that mongod's packages make; nobody else can give files away."""
    if not is_root():
        return None
    for name in ("mongodb", "mongod"):  # Debian's packages, and Red Hat's
        with contextlib.suppress(LocalError):
            return owner_named(name)
    return None


def owner_named(name: str) -> Owner:
    """The ids of `USER` (with its primary group); raises `LocalError` for an unknown one."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise LocalError(f"there is no user {name!a} on this host", hint="see --owner") from None
    return Owner(entry.pw_uid, entry.pw_gid)


def read(path: Path) -> bytes | None:
    """The file's bytes, `None` if there is no such file; raises `LocalError` otherwise."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LocalError(f"can't read {path}: {error.strerror}") from error


def private_directory(path: Path, owner: Owner | None = None) -> None:
    """Make `path` with mode 0700, for `owner`; an existing directory is left as it is."""
    if path.is_dir():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
        if owner is not None:
            os.chown(path, owner.uid, owner.gid)
    except OSError as error:
        raise _failed(path, error) from error


def sweep(path: Path) -> None:
    """Remove what a killed program left of an unfinished `replace` of `path`."""
    for stale in path.parent.glob(f".{path.name}.*"):
        stale.unlink(missing_ok=True)


def set_access(path: Path, mode: int, owner: Owner | None) -> None:
    """Give an existing file or directory this mode and owner. Raises `LocalError`."""
    try:
        if path.stat().st_mode & 0o7777 != mode:
            path.chmod(mode)
        if owner is not None:
            os.chown(path, owner.uid, owner.gid)
    except OSError as error:
        raise _failed(path, error) from error


def replace(path: Path, new: NewFile, owner: Owner | None = None) -> None:
    """Put `new` in the place of `path`, whole or not at all. Raises `LocalError`."""
    replace_all({path: new}, owner)


def replace_all(
    files: Mapping[Path, NewFile],
    owner: Owner | None = None,
    *,
    rename: Callable[[Path, Path], None] = os.replace,
) -> None:
    """Put several files of one directory in place.

    All are staged and synced before the first is renamed; if a rename fails, those already
    renamed are put back. Without `owner`, root keeps the owner of what is replaced. Raises
    `LocalError`, and leaves no temporary files.
    """
    staged: dict[Path, Path] = {}
    replaced: list[Path] = []
    before = {path: _snapshot(path) for path in files}
    try:
        for path, new in files.items():
            old = before[path]
            kept = old[1] if old is not None and is_root() else None
            staged[path] = _stage(path, new, owner or kept)
        for path, temporary in staged.items():
            rename(temporary, path)
            replaced.append(path)
        for directory in {path.parent for path in files}:
            _sync_directory(directory)
    except OSError as error:
        for path in replaced:
            _put_back(path, before[path])
        raise _failed(Path(error.filename or next(iter(files))), error) from error
    finally:
        for temporary in staged.values():
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory against other agent programs; waits for its turn."""
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _failed(directory, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _stage(path: Path, new: NewFile, owner: Owner | None) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    handle = os.open(temporary, flags, 0o600)
    try:
        with os.fdopen(handle, "wb") as stream:
            if owner is not None:
                os.fchown(stream.fileno(), owner.uid, owner.gid)
            os.fchmod(stream.fileno(), new.mode)
            stream.write(new.data)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _snapshot(path: Path) -> tuple[NewFile, Owner] | None:
    data = read(path)
    if data is None:
        return None
    status = path.stat()
    return NewFile(data, status.st_mode & 0o7777), Owner(status.st_uid, status.st_gid)


def _put_back(path: Path, old: tuple[NewFile, Owner] | None) -> None:
    with contextlib.suppress(OSError):  # The first error is the one to report.
        if old is None:
            path.unlink()
        else:
            new, owner = old
            _stage(path, new, owner).rename(path)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _failed(path: Path, error: OSError) -> LocalError:
    hint = "run as a user that may write there" if isinstance(error, PermissionError) else None
    return LocalError(f"can't write {path}: {error.strerror or error}", hint=hint)
