"""Secrets at rest: sealed with one master key that lives in a file of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import Self

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from frontserver.errors import CertificateError

_KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_VERSION = b"\x01"


class MasterKey(msgspec.Struct, frozen=True):
    """A 256-bit key for AES-GCM (NIST SP 800-38D); good for 2^32 seals with random nonces."""

    secret: bytes

    def __post_init__(self) -> None:
        if len(self.secret) != _KEY_BYTES:
            raise CertificateError(f"a master key has {_KEY_BYTES} bytes, not {len(self.secret)}")

    def __repr__(self) -> str:
        return "MasterKey(…)"

    @classmethod
    def load_or_create(cls, path: Path) -> Self:
        """The key in `path`; on first start it is made there, with mode 0600.

        An existing file is never written to. Raises `CertificateError` if it can't be read or
        made, if others may read it, or if it doesn't hold exactly 32 bytes.
        """
        try:
            return cls._load(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise CertificateError(f"{path}: the master key can't be read: {error}") from error
        try:
            _create(path, secrets.token_bytes(_KEY_BYTES))
            return cls._load(path)
        except OSError as error:
            raise CertificateError(
                f"{path}: the master key can't be made: {error}",
                hint="set FRONTSERVER_MASTER_KEY_FILE to a path that this user may write",
            ) from error

    @classmethod
    def _load(cls, path: Path) -> Self:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise CertificateError(f"{path}: the master key is not a regular file")
            if mode & 0o077:
                raise CertificateError(
                    f"{path}: others may read the master key (mode {stat.S_IMODE(mode):04o})",
                    hint=f"run: chmod 600 {path}",
                )
            secret = file.read(_KEY_BYTES + 1)
        if len(secret) != _KEY_BYTES:
            raise CertificateError(
                f"{path}: not a master key: it must hold exactly {_KEY_BYTES} bytes",
                hint="restore the file from a backup; with another key nothing sealed can be read",
            )
        return cls(secret)

    def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """Encrypt; only `open` with the same `context` (what it is, and whose) reads it again."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(self.secret).encrypt(nonce, plaintext, _associated(context))
        return _VERSION + nonce + sealed

    def open(self, sealed: bytes, *, context: str) -> bytes:
        """The plaintext. Raises `CertificateError` for another key or context, or any change."""
        if len(sealed) < 1 + _NONCE_BYTES + _TAG_BYTES or sealed[:1] != _VERSION:
            raise CertificateError(f"the sealed {context} is damaged or of an unknown version")
        nonce, body = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            return AESGCM(self.secret).decrypt(nonce, body, _associated(context))
        except InvalidTag as error:
            raise CertificateError(
                f"the sealed {context} doesn't open with this master key",
                hint="restore the master key that this state was made with",
            ) from error


def _associated(context: str) -> bytes:
    return b"frontserver seal 1\0" + context.encode()


def _create(path: Path, secret: bytes) -> None:
    """Write beside `path`, then link: it appears whole or not at all, and replaces nothing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret)
            file.flush()
            os.fsync(descriptor)
        # Another process may have been first: then its key counts.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
