"""What the agent program remembers between runs: its token, and notes on certificates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from frontserver.agent import files

S = TypeVar("S", bound=msgspec.Struct)


class SavedToken(msgspec.Struct, frozen=True, rename="camel"):
    """A token, and for whom and where it counts. Times RFC 3339."""

    url: str
    agent_id: str
    token: str
    expires_at: str
    obtained_at: str = ""


class CertificateNote(msgspec.Struct, frozen=True, rename="camel"):
    """About one certificate directory: where its key is made, and what mongod last loaded."""

    own_key: bool = False
    rotated: str | None = None


class Notes(msgspec.Struct, frozen=True):
    """Certificate notes by directory."""

    directories: dict[str, CertificateNote] = {}


def default_directory(environ: Mapping[str, str], *, root: bool) -> Path:
    """`/var/lib/frontserver-agent` for root, else below XDG_STATE_HOME (~/.local/state)."""
    if root:
        return Path("/var/lib/frontserver-agent")
    base = environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "frontserver-agent"


class State:
    """Small JSON files of mode 0600 in a directory of mode 0700."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def token(self, url: str, agent_id: str) -> SavedToken | None:
        """The saved token of this agent at this URL, if there is one."""
        saved = self._load(self._token_file(agent_id), SavedToken)
        if saved is None or (saved.url, saved.agent_id) != (url, agent_id):
            return None
        return saved

    def save_token(self, saved: SavedToken) -> None:
        """Remember a token. Raises `LocalError`."""
        self._save(self._token_file(saved.agent_id), saved)

    def note(self, directory: Path) -> CertificateNote:
        """What is known of a certificate directory."""
        notes = self._load("certificates.json", Notes) or Notes()
        return notes.directories.get(str(directory.absolute()), CertificateNote())

    def save_note(self, directory: Path, note: CertificateNote) -> None:
        """Remember it. Raises `LocalError`."""
        if note == self.note(directory):
            return
        notes = self._load("certificates.json", Notes) or Notes()
        self._save(
            "certificates.json", Notes({**notes.directories, str(directory.absolute()): note})
        )

    @staticmethod
    def _token_file(agent_id: str) -> str:
        return f"token-{agent_id}.json"

    def _load(self, name: str, shape: type[S]) -> S | None:
        data = files.read(self._directory / name)
        try:
            return None if data is None else msgspec.json.decode(data, type=shape)
        except msgspec.DecodeError:
            return None  # It is only a memory: without it the agent asks again.

    def _save(self, name: str, value: msgspec.Struct) -> None:
        files.private_directory(self._directory)
        data = msgspec.json.encode(value) + b"\n"
        files.replace(self._directory / name, files.NewFile(data, 0o600))
