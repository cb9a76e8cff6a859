"""Images that are built here: what can't be in one is said, with what to do."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from harness import versions
from harness.containers.images import LocalImages
from harness.containers.machine import hides
from harness.errors import UnavailableError


def test_a_program_that_a_container_would_hide_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Path("/tmp/clone/.haproxies/3.4/haproxy")
    monkeypatch.setattr(versions, "program", lambda _version: program)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/var/tmp/ours")
    with pytest.raises(UnavailableError, match="have your clone somewhere else"):
        LocalImages().proxy("3.4")


@pytest.mark.parametrize(
    ("temporary", "path", "hidden"),
    [
        ("/tmp", "/tmp/clone", False),
        ("/tmp/ours", "/tmp", True),
        ("/tmp/ours", "/tmp/clone", True),
        ("/tmp/ours", "/tmp/ours/clone", False),
        ("/var/tmp/ours", "/home/somebody/clone", False),
    ],
)
def test_containers_hide_what_is_in_a_temporary_directory_that_they_do_not_share(
    monkeypatch: pytest.MonkeyPatch, temporary: str, path: str, hidden: bool
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: temporary)
    assert hides(Path(path)) is hidden
