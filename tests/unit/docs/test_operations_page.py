"""What `docs/operations.md` says of templates, reloads and settings is so."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from frontserver.api.metrics import Metrics
from frontserver.errors import ProxyError
from frontserver.haproxy import binary
from frontserver.haproxy.check import check
from frontserver.model.status import ProxyStatus
from frontserver.model.targets import HostPort
from frontserver.planning.compile import STANDARD_PROFILES
from frontserver.planning.compiled import CompiledConfig, Frontends, Profile
from frontserver.planning.layout import Layout, PoolPolicy
from frontserver.planning.plan import ReloadReason
from frontserver.rendering.render import Renderer
from frontserver.rendering.templates import Templates
from frontserver.settings import Settings
from tests.unit.docs.pages import ROOT, page, pages

PAGE = page("docs/operations.md")
TEMPLATES = ROOT / "templates" / "haproxy"
# Of the agent program and of whoever looks for a mongod.
OTHERS = r"FRONTSERVER_(URL|AGENT_\w*|MONGOD_BIN|)"


def section(heading: str) -> str:
    (found,) = re.findall(rf"^## {heading}$.*?(?=^## |\Z)", PAGE.text, re.MULTILINE | re.DOTALL)
    return str(found)


def test_every_reason_of_a_reload_is_explained() -> None:
    source = "\n".join(file.read_text() for file in (ROOT / "src").rglob("*.py"))
    used = {ReloadReason[name].value for name in re.findall(r"\bReloadReason\.([A-Z_]+)", source)}

    rows = re.findall(r"^\| `([\w-]+)` \|", section("What reloads, and why"), re.MULTILINE)

    assert set(rows) == used


def test_every_metric_is_explained_and_no_other() -> None:
    """Of the process itself the page names only that there are some."""
    status = ProxyStatus(True, True, 1, 1, version="2.8.25", reload_waits="interval")
    text = Metrics("1").exposition(msgspec.structs.replace(status, counts={"active": 1})).decode()
    shown = {
        name
        for name in re.findall(r"^# TYPE (\w+) (?:counter|gauge|histogram)$", text, re.MULTILINE)
        if name.startswith("frontserver_")
    }

    rows = re.findall(r"^\| (`frontserver_.*?) \|", section("Metrics"), re.MULTILINE)

    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == shown


def test_every_template_and_every_place_for_the_operators_lines_is_named() -> None:
    text = section("Templates")
    sources = {file.name: file.read_text() for file in TEMPLATES.glob("*.j2")}
    places = re.findall(r'include "(custom/[\w.]+\.j2)"', "".join(sources.values()))

    assert set(re.findall(r"`(\w+\.cfg\.j2)`", text)) == set(sources)
    rows = "".join(line for line in text.splitlines(True) if line.startswith("| `custom/"))
    assert sorted(re.findall(r"`(custom/[\w.]+)`", rows)) == sorted({*places})


async def test_the_examples_of_templates_are_accepted_by_haproxy(tmp_path: Path) -> None:
    override = tmp_path / "templates"
    for name, code in re.findall(
        r"`([\w/.]+\.j2)`[^`]*\n\n```jinja\n(.*?)```", PAGE.text, re.DOTALL
    ):
        (override / name).parent.mkdir(parents=True, exist_ok=True)
        (override / name).write_text(code)
    (replaced,) = (code for code in PAGE.blocks("jinja") if "{% extends" in code)
    (override / "frontends.cfg.j2").write_text(replaced)

    files = _rendered(override, tmp_path)

    assert "log /dev/log local0" in files["00-global.cfg"]
    assert "option httplog" in files["00-global.cfg"]
    assert "frontend fs_in_http" in files["10-frontends.cfg"]
    assert "maintenance window" in files["10-frontends.cfg"]
    assert "frontend exporter" in files["05-sections.cfg"]
    assert "deny_status 403" in files["20-profiles.cfg"]
    try:
        program = binary.find()
    except ProxyError:
        pytest.skip("no HAProxy here: pip install 'frontserver[embedded]'")
    await check(program, _written(files, tmp_path / "haproxy"))


def test_settings_that_are_named_anywhere_exist() -> None:
    known = {f"FRONTSERVER_{name.upper()}" for name in Settings.__struct_fields__}
    named = {
        (str(each.path), name)
        for each in pages()
        for name in re.findall(r"\bFRONTSERVER_\w*", each.text)
        if not re.fullmatch(OTHERS, name)
    }

    assert named
    assert [(where, name) for where, name in sorted(named) if name not in known] == []


def _rendered(override: Path, directory: Path) -> dict[str, str]:
    frontends = Frontends(
        http_binds=(HostPort("127.0.0.1", 8000),),
        https_binds=(),
        mongo_binds=(HostPort("127.0.0.1", 27017),),
        runtime_socket=str(directory / "runtime.sock"),
    )
    templates = Templates(override)
    profiles = {Profile(mode="http", extension=each): 1 for each in templates.extensions()}
    layout = Layout().reloaded(profiles, PoolPolicy(STANDARD_PROFILES, spare=1))
    renderer = Renderer(templates)
    return renderer.everything(CompiledConfig(frontends), layout, generation="000001")


def _written(files: dict[str, str], directory: Path) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory
