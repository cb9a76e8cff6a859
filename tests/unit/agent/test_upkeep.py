"""One round: token, files, and mongod in step with the files."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from frontserver.agent import Client, LocalError
from frontserver.agent.certs import CertificateDirectory
from frontserver.agent.state import SavedToken, State
from frontserver.agent.upkeep import KeyChoice, Rotation, Upkeep, token_due
from frontserver.errors import CertificateError
from tests.unit.agent.fakes import AGENT, KEY, NOW, URL, Authority, FrontServer

MONGO = "mongodb://localhost"


class Mongod:
    """Counts rotations; `down` makes them fail."""

    def __init__(self) -> None:
        self.rotations: list[tuple[str, Path]] = []
        self.down = False

    def __call__(self, uri: str, ca_file: Path) -> None:
        if self.down:
            raise LocalError("mongod is down")
        self.rotations.append((uri, ca_file))


class Fixture:
    """An upkeep whose parts a test can reach."""

    def __init__(self, path: Path) -> None:
        self.server = FrontServer()
        self.mongod = Mongod()
        self.state = State(path / "state")
        self.directory = CertificateDirectory(path / "ssl", now=lambda: NOW)
        self.client = Client(
            URL, AGENT, key=KEY, transport=self.server.transport, on_token=self.remember
        )
        self.now = NOW
        self.saved: SavedToken | None = None

    def remember(self, token: str, expires_at: str) -> None:
        self.saved = SavedToken(URL, AGENT, token, expires_at, self.now.isoformat())

    def upkeep(self, own: bool | None = None, *, rotate: bool = True) -> Upkeep:
        return Upkeep(
            self.client,
            self.directory,
            self.state,
            saved=lambda: self.saved,
            key=KeyChoice(own),
            rotation=Rotation(MONGO, self.mongod) if rotate else None,
            now=lambda: self.now,
        )


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Fixture]:
    parts = Fixture(tmp_path)
    with parts.client:
        yield parts


def test_mongod_is_rotated_once_for_each_change(parts: Fixture) -> None:
    assert parts.upkeep().renew_certificate().rotated
    assert not parts.upkeep().renew_certificate().rotated
    parts.server.renew()
    assert parts.upkeep().renew_certificate().rotated
    parts.server.ca += Authority().pem
    assert parts.upkeep().renew_certificate().rotated
    assert parts.mongod.rotations == [(MONGO, parts.directory.ca_file)] * 3


def test_a_rotation_that_failed_is_tried_again_though_no_file_changes(parts: Fixture) -> None:
    parts.mongod.down = True
    with pytest.raises(LocalError, match="mongod is down"):
        parts.upkeep().renew_certificate()
    parts.mongod.down = False
    renewed = parts.upkeep().renew_certificate()
    assert (renewed.installed.changed, renewed.rotated) == ((), True)


def test_a_certificate_that_clients_would_not_trust_never_reaches_mongod(parts: Fixture) -> None:
    parts.upkeep().renew_certificate()
    parts.server.authority = Authority()
    parts.server.renew()
    with pytest.raises(CertificateError, match="wasn't issued by the CA"):
        parts.upkeep().renew_certificate()
    assert len(parts.mongod.rotations) == 1


def test_without_a_uri_mongod_is_left_alone(parts: Fixture) -> None:
    assert not parts.upkeep(rotate=False).renew_certificate().rotated


def test_where_the_key_is_made_is_remembered(parts: Fixture) -> None:
    first = parts.upkeep(own=True).renew_certificate()
    assert parts.upkeep().renew_certificate().installed.leaf == first.installed.leaf
    assert parts.server.calls.count("POST /api/certificates/agent/a1/csr") == 1
    assert parts.upkeep().renew_certificate(force=True).installed.changed
    assert parts.server.calls.count("POST /api/certificates/agent/a1/csr") == 2
    parts.server.serves_key = True
    parts.server.renew()
    parts.upkeep(own=False).renew_certificate()
    assert parts.server.key == (parts.directory.path / "server.key").read_text()


def test_a_token_is_renewed_at_two_thirds_of_its_life(parts: Fixture) -> None:
    parts.server.clock = lambda: parts.now
    upkeep = parts.upkeep()
    due = upkeep.renew_token()
    assert due == NOW + timedelta(seconds=2400)
    parts.now = NOW + timedelta(seconds=2399)
    assert upkeep.renew_token() == due
    assert len(parts.server.tokens) == 1
    parts.now = NOW + timedelta(seconds=2400)
    assert upkeep.renew_token() == parts.now + timedelta(seconds=2400)
    assert len(parts.server.tokens) == 2


@pytest.mark.parametrize(
    ("saved", "due"),
    [
        (None, None),
        (SavedToken(URL, AGENT, "t", "never", "2031-05-01T12:00:00Z"), None),
        (SavedToken(URL, AGENT, "t", "2031-05-01T12:00:00Z"), None),
        (SavedToken(URL, AGENT, "t", "2031-05-01T12:00:00Z", "2031-05-01T12:00:00"), None),
        (
            SavedToken(URL, AGENT, "t", "2031-05-01T15:00:00Z", "2031-05-01T12:00:00Z"),
            datetime(2031, 5, 1, 14, tzinfo=UTC),
        ),
    ],
)
def test_when_a_token_is_due(saved: SavedToken | None, due: datetime | None) -> None:
    assert token_due(saved) == due
