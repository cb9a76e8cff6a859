"""What HAProxy was given stays known by its label, in spite of restarts and refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from frontserver.backends.dataplane.ledger import Ledger, labels_in, marker
from frontserver.backends.manifest import Manifest
from frontserver.errors import StorageError
from frontserver.planning.compile import HTTP_PROFILE

FIRST = Manifest("frontends 1", ((HTTP_PROFILE, 4),))
SECOND = Manifest("frontends 2", ((HTTP_PROFILE, 8),), "templates")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "dataplane.json"


def test_a_manifest_is_known_by_its_label_to_the_next_control_plane_too(path: Path) -> None:
    label = Ledger(path).add(FIRST, running=None)

    assert Ledger(path).get(label) == FIRST
    assert path.stat().st_mode & 0o077 == 0


def test_labels_are_numbered_and_the_newest_comes_first(path: Path) -> None:
    ledger = Ledger(path)
    labels = [ledger.add(manifest, running=None) for manifest in (FIRST, SECOND, FIRST)]

    assert [label[:6] for label in labels] == ["000001", "000002", "000003"]
    assert ledger.labels() == tuple(reversed(labels))


def test_a_label_met_elsewhere_is_not_given_again(path: Path) -> None:
    label = Ledger(path).add(FIRST, running=None, seen=["000041-0a0b0c0d"])
    assert label == FIRST.label("000042")


def test_what_runs_stays_known_however_many_are_refused(path: Path) -> None:
    ledger = Ledger(path)
    running = ledger.add(FIRST, running=None)
    refused = [ledger.add(SECOND, running=running) for _ in range(20)]

    assert Ledger(path).get(running) == FIRST
    assert Ledger(path).get(refused[-1]) == SECOND
    assert Ledger(path).get(refused[0]) is None


def test_old_ones_are_forgotten(path: Path) -> None:
    ledger = Ledger(path)
    running = None
    for _ in range(20):
        running = ledger.add(FIRST, running=running)
    assert len(ledger.labels()) <= 5


def test_a_label_is_nothing_without_its_manifest(path: Path) -> None:
    ledger = Ledger(path)
    label = ledger.add(FIRST, running=None)
    path.write_bytes(path.read_bytes().replace(b"frontends 1", b"frontends X"))

    assert Ledger(path).get(label) is None
    assert ledger.get("000009-00000000") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"000001-0a0b0c0d": 1}', b"\xff"])
def test_a_file_that_cannot_be_read_is_as_none(path: Path, content: bytes) -> None:
    """HAProxy isn't recognised then, and is given everything anew."""
    path.parent.mkdir()
    path.write_bytes(content)
    ledger = Ledger(path)

    assert ledger.labels() == ()
    assert ledger.get(ledger.add(FIRST, running=None)) == FIRST


def test_a_disk_that_takes_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no directory")
    with pytest.raises(StorageError, match=r"dataplane\.json"):
        Ledger(tmp_path / "state" / "dataplane.json").add(FIRST, running=None)


def test_the_marker_is_found_in_a_configuration() -> None:
    label = FIRST.label("000007")
    text = (
        f"frontend x\n    # backend fs_rev_000001-0a0b0c0d\nbackend {marker(label)} from fs_http\n"
    )
    assert labels_in(text) == (label,)


@pytest.mark.parametrize("name", ["fs_rev_7-0a0b0c0d", "fs_rev_000001-0a0b0c0", "my_fs_rev_000001"])
def test_other_names_are_no_markers(name: str) -> None:
    assert labels_in(f"backend {name}\n") == ()
