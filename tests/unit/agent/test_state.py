"""What is remembered between runs."""

from __future__ import annotations

import stat
from pathlib import Path

from frontserver.agent.state import CertificateNote, SavedToken, State, default_directory

TOKEN = SavedToken("http://front.test", "a1", "t", "2031-05-01T13:00:00Z", "2031-05-01T12:00:00Z")


def test_the_directory_follows_the_user(tmp_path: Path) -> None:
    assert default_directory({}, root=True) == Path("/var/lib/frontserver-agent")
    chosen = default_directory({"XDG_STATE_HOME": "/x"}, root=False)
    assert chosen == Path("/x/frontserver-agent")
    assert default_directory({}, root=False) == Path.home() / ".local/state/frontserver-agent"


def test_a_token_is_kept_closed_and_for_its_server_only(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    assert state.token("http://front.test", "a1") is None
    state.save_token(TOKEN)
    assert state.token("http://front.test", "a1") == TOKEN
    assert state.token("http://other.test", "a1") is None
    assert state.token("http://front.test", "a2") is None
    (file,) = (tmp_path / "state").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_spoilt_memory_is_no_memory(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.save_token(TOKEN)
    (tmp_path / "token-a1.json").write_text("{")
    assert state.token("http://front.test", "a1") is None


def test_notes_are_kept_for_each_directory(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    one, two = tmp_path / "one", tmp_path / "two"
    state.save_note(one, CertificateNote(own_key=True, rotated="aa"))
    state.save_note(two, CertificateNote(rotated="bb"))
    assert state.note(one) == CertificateNote(own_key=True, rotated="aa")
    assert state.note(two) == CertificateNote(rotated="bb")
    assert state.note(tmp_path) == CertificateNote()


def test_an_unchanged_note_is_not_written(tmp_path: Path) -> None:
    State(tmp_path / "state").save_note(tmp_path, CertificateNote())
    assert not (tmp_path / "state").exists()
