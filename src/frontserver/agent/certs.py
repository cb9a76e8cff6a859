"""The certificate directory: what lies in it, what the server has, and bringing both in step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import msgspec

from frontserver.agent import files
from frontserver.agent.errors import UnexpectedAnswerError
from frontserver.agent.files import NewFile, Owner
from frontserver.agent.material import Leaf, Material, check, new_key, signing_request
from frontserver.errors import CertificateError
from frontserver.wire.certificates import (
    CA_FILE,
    CERT_FILE,
    DEFAULT_CERT_DIR,
    KEY_FILE,
    MONGODB_PEM,
    AgentConfig,
    CertificateAnswer,
)


class CertificateSource(Protocol):
    """The part of `Client` that certificates come from."""

    def config(self) -> AgentConfig: ...

    def ca(self) -> str: ...

    def sign(self, csr_pem: str) -> CertificateAnswer: ...


class Installed(msgspec.Struct, frozen=True):
    """What a fetch did: the certificate that is on disk now, and the files that changed."""

    domain: str
    leaf: Leaf
    changed: tuple[str, ...]


class CertificateDirectory:
    """`ca.crt`, `server.crt`, `server.key` and `mongodb.pem` (certificate and key in one)."""

    def __init__(
        self,
        path: Path = Path(DEFAULT_CERT_DIR),
        *,
        owner: Owner | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.path = path
        self._owner = owner
        self._now = now

    @property
    def ca_file(self) -> Path:
        return self.path / CA_FILE

    @property
    def key_pem_file(self) -> Path:
        return self.path / MONGODB_PEM

    def load(self) -> Material | None:
        """What is on disk, unchecked; `None` unless all files are there and readable as text."""
        parts = [files.read(self.path / name) for name in (CA_FILE, CERT_FILE, KEY_FILE)]
        together = files.read(self.key_pem_file)
        ca, cert, key = (part.decode("ascii", "replace") if part else None for part in parts)
        if ca is None or cert is None or key is None or together is None:
            return None
        material = Material(ca, cert, key)
        return material if together == material.key_pem.encode() else None

    def check(self, domain: str) -> Leaf:
        """Check what is on disk; raises `CertificateError` with what to do."""
        material = self.load()
        if material is None:
            raise CertificateError(
                f"{self.path} doesn't hold a whole set of certificate files",
                hint="run `frontserver-agent certs fetch` first",
            )
        return check(material, domain, self._now())

    def digest(self) -> str:
        """SHA-256 of what mongod reads (its PEM and the CA), in hex."""
        content = hashlib.sha256()
        for path in (self.key_pem_file, self.ca_file):
            content.update(files.read(path) or b"")
            content.update(b"\0")
        return content.hexdigest()

    def fetch(self, source: CertificateSource) -> Installed:
        """Install the server's current certificate and key."""
        config = source.config()
        bundle = config.certificates
        key = bundle.key
        if key is None:
            # The server's certificate was made from a request: its key is here or nowhere.
            present = self.load()
            if present is None:
                raise CertificateError(
                    "the server holds no key for this agent: its certificate was made from a "
                    "request of this agent's, and the key isn't in the directory",
                    hint="run `certs fetch --csr`",
                )
            key = present.key
        return self._install(Material(bundle.ca, bundle.cert, key), config.domains.mongodb)

    def fetch_signed(
        self, source: CertificateSource, *, key_kind: str = "ec", force: bool = False
    ) -> Installed:
        """Keep a key of our own: when due (or `force`), make a new one and have it signed."""
        domain = source.config().domains.mongodb
        authority = source.ca()
        kept = None if force else self._still_good(authority, domain)
        if kept is not None:
            return self._install(kept, domain)
        key = new_key(key_kind)
        bundle = source.sign(signing_request(key, domain)).certificates
        if bundle.key is not None:
            raise UnexpectedAnswerError("the server answered a signing request with a key")
        return self._install(Material(bundle.ca, bundle.cert, key), domain)

    def _still_good(self, authority: str, domain: str) -> Material | None:
        present = self.load()
        if present is None:
            return None
        current = msgspec.structs.replace(present, ca=authority)
        try:
            leaf = check(current, domain, self._now())
        except CertificateError:
            return None
        return current if self._now() < leaf.renew_at else None

    def _install(self, material: Material, domain: str) -> Installed:
        """Check `material`, then write the files that differ. Old ones stay on any failure."""
        leaf = check(material, domain, self._now())
        wanted = {
            # The CA first: with it in place either certificate of a rotation is trusted.
            CA_FILE: NewFile(f"{material.ca.strip()}\n".encode(), 0o644),
            MONGODB_PEM: NewFile(material.key_pem.encode(), 0o600),
            KEY_FILE: NewFile(f"{material.key.strip()}\n".encode(), 0o600),
            CERT_FILE: NewFile(f"{material.cert.strip()}\n".encode(), 0o644),
        }
        files.private_directory(self.path, self._owner)
        with files.locked(self.path):
            for name in wanted:
                files.sweep(self.path / name)
            self._close_directory(wanted)
            changed = {
                name: new
                for name, new in wanted.items()
                if not self._is_same(self.path / name, new)
            }
            if changed:
                files.replace_all({self.path / n: f for n, f in changed.items()}, self._owner)
        return Installed(domain, leaf, tuple(changed))

    def _close_directory(self, ours: dict[str, NewFile]) -> None:
        """Mode 0700, unless the directory holds other things too (then it's somebody else's)."""
        if any(entry.name not in ours for entry in self.path.iterdir()):
            return
        files.set_access(self.path, 0o700, self._owner)

    def _is_same(self, path: Path, new: NewFile) -> bool:
        if files.read(path) != new.data:
            return False
        status = path.stat()
        owner = self._owner or Owner(status.st_uid, status.st_gid)
        return (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (
            new.mode,
            owner.uid,
            owner.gid,
        )
