"""What containers see of this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from harness.containers.parts import named_paths


def test_what_settings_name_by_its_path_is_seen_unless_it_is_already(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    temporary, templates = tmp_path / "temporary", tmp_path / "templates"
    below = temporary / "templates"
    below.mkdir(parents=True)
    templates.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    settings = {
        "FRONTSERVER_TEMPLATE_DIR": str(templates),
        "FRONTSERVER_DATAPLANE_CA": str(tmp_path / "missing"),
        "FRONTSERVER_DATAPLANE_KEY": str(below),
        "FRONTSERVER_ENROLMENT": "closed",
        "LD_PRELOAD": str(templates),
    }
    assert named_paths(settings) == (templates,)
