"""Keeping an agent's token and certificate fresh: what one round does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import msgspec

from frontserver.agent.certs import CertificateDirectory, CertificateSource, Installed
from frontserver.agent.mongod import Rotate
from frontserver.agent.state import SavedToken, State
from frontserver.wire.agents import AuthenticateAnswer


class UpkeepSource(CertificateSource, Protocol):
    """The part of `Client` that upkeep calls."""

    def authenticate(self) -> AuthenticateAnswer: ...


class KeyChoice(msgspec.Struct, frozen=True):
    """Where the certificate's key is made. `own` None: as the last time, else by the server."""

    own: bool | None = None
    kind: str = "ec"


class Rotation(msgspec.Struct, frozen=True):
    """How mongod is told of new files: its URI, and who connects (`mongod.rotate`)."""

    uri: str
    run: Rotate


class Renewed(msgspec.Struct, frozen=True):
    """What a round did to the certificate directory, and whether mongod loaded it anew."""

    installed: Installed
    rotated: bool


class Upkeep:
    """One agent's certificate directory, its notes, and the server they come from."""

    def __init__(
        self,
        source: UpkeepSource,
        directory: CertificateDirectory,
        state: State,
        *,
        saved: Callable[[], SavedToken | None],
        key: KeyChoice | None = None,
        rotation: Rotation | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._source = source
        self._directory = directory
        self._state = state
        self._saved = saved
        self._key = key or KeyChoice()
        self._rotation = rotation
        self._now = now

    @property
    def path(self) -> Path:
        return self._directory.path

    def renew_certificate(self, *, force: bool = False) -> Renewed:
        """Bring the files in step with the server, then mongod in step with the files.

        `force` asks for a new certificate where the key is our own; the server alone decides
        about the ones whose keys it makes.
        """
        note = self._state.note(self.path)
        own = note.own_key if self._key.own is None else self._key.own
        if own:
            installed = self._directory.fetch_signed(
                self._source, key_kind=self._key.kind, force=force
            )
        else:
            installed = self._directory.fetch(self._source)
        note = msgspec.structs.replace(note, own_key=own)
        self._state.save_note(self.path, note)
        if self._rotation is None:
            return Renewed(installed, rotated=False)
        # By digest, not by "something changed": a rotation that failed is tried again.
        digest = self._directory.digest()
        if note.rotated == digest:
            return Renewed(installed, rotated=False)
        self._rotation.run(self._rotation.uri, self._directory.ca_file)
        self._state.save_note(self.path, msgspec.structs.replace(note, rotated=digest))
        return Renewed(installed, rotated=True)

    def renew_token(self) -> datetime | None:
        """Get a new token if two thirds of the old one's life are over; when the next is due."""
        due = token_due(self._saved())
        if due is None or due <= self._now():
            self._source.authenticate()
            due = token_due(self._saved())
        return due


def token_due(saved: SavedToken | None) -> datetime | None:
    """Two thirds of the token's life; `None` if that can't be told."""
    if saved is None:
        return None
    try:
        obtained = datetime.fromisoformat(saved.obtained_at)
        return obtained + (datetime.fromisoformat(saved.expires_at) - obtained) * 2 / 3
    except (ValueError, TypeError):
        return None
