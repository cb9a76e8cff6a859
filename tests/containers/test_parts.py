"""Parts in containers: what a stack's settings name is there, too."""

from __future__ import annotations

from pathlib import Path

from harness.choice import make_parts

TEMPLATES = Path(__file__).parents[2] / "templates" / "haproxy"


def test_the_front_server_may_read_what_its_settings_name(tmp_path: Path) -> None:
    parts = make_parts(where="containers")
    try:
        machine = parts.front(tmp_path, {"FRONTSERVER_TEMPLATE_DIR": str(TEMPLATES)})
        assert set(machine.run(["ls", TEMPLATES]).stdout.split()) == {
            path.name for path in TEMPLATES.iterdir()
        }
        refused = machine.run(["touch", TEMPLATES / "x"])
        assert "Read-only file system" in refused.stderr
    finally:
        parts.close()
