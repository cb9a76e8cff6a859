"""`docs/settings.md` names every setting, with the default it has and an example that is valid."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from frontserver.settings import Settings, load
from tests.unit.docs.pages import page

PAGE = page("docs/settings.md")
NAMES = [f"FRONTSERVER_{name.upper()}" for name in Settings.__struct_fields__]
_SECTION = re.compile(
    r"^### (?P<name>\w+)\n"
    r"Default: (?P<default>.+?)\. Example: `(?P<example>[^`]+)`\n\n(?P<text>\S)",
    re.MULTILINE,
)
SECTIONS = {match["name"]: match for match in _SECTION.finditer(PAGE.text)}

# Their default depends on the system or on another setting, and is told in words.
TOLD = {"FRONTSERVER_HAPROXY_BIN", "FRONTSERVER_MONGO_PUBLIC_PORT"}
# Their value must exist in the file system.
EXISTING = {
    "FRONTSERVER_DATAPLANE_CA",
    "FRONTSERVER_DATAPLANE_CERTIFICATE",
    "FRONTSERVER_DATAPLANE_KEY",
    "FRONTSERVER_HAPROXY_BIN",
    "FRONTSERVER_HTTPS_CERTIFICATE",
    "FRONTSERVER_TEMPLATE_DIR",
}

# Settings that mean nothing without another one.
# By setting: the others that it needs, each with a value or `None` for that of the example.
NEEDS: dict[str, dict[str, str | None]] = {
    "FRONTSERVER_DATAPLANE_KEY": {"FRONTSERVER_DATAPLANE_CERTIFICATE": None},
    "FRONTSERVER_DATAPLANE_HTTP_FRONTENDS": {"FRONTSERVER_DATAPLANE_FILE": "shared"},
    "FRONTSERVER_DATAPLANE_MONGODB_FRONTENDS": {"FRONTSERVER_DATAPLANE_FILE": "shared"},
}


def test_every_setting_has_a_section_and_no_section_is_about_nothing() -> None:
    headings = re.findall(r"^### (\w+)$", PAGE.text, re.MULTILINE)

    assert sorted(NAMES) == sorted(headings) == sorted(SECTIONS)


@pytest.mark.parametrize("name", NAMES)
def test_the_default_is_what_the_program_uses(name: str) -> None:
    default = SECTIONS[name]["default"]
    unset = load({})
    value = getattr(unset, name.removeprefix("FRONTSERVER_").lower())

    if default == "not set":
        assert not value
    elif name in TOLD:
        assert value is None
    else:
        text = default.strip("`").replace("STATE_DIR", str(unset.state_dir))
        assert unset == load({name: text})


@pytest.mark.parametrize("name", NAMES)
def test_the_example_is_accepted_and_differs_from_the_default(name: str, tmp_path: Path) -> None:
    example = SECTIONS[name]["example"]
    if name in EXISTING:
        example = str(_existing(name, tmp_path))

    needs = {other: value or example for other, value in NEEDS.get(name, {}).items()}
    assert load({name: example, **needs}) != load(needs)


def test_the_example_file_is_accepted(tmp_path: Path) -> None:
    (text,) = PAGE.blocks("toml")
    values = tomllib.loads(text)
    values["https_certificate"] = str(_existing("FRONTSERVER_HTTPS_CERTIFICATE", tmp_path))
    file = tmp_path / "frontserver.toml"
    lines = [f"{name} = {msgspec.json.encode(value).decode()}" for name, value in values.items()]
    file.write_text("\n".join(lines))

    loaded = load({}, config=file)

    assert loaded.backend == "file"
    assert [bind.port for bind in loaded.http_bind] == [80, 80]


def _existing(name: str, directory: Path) -> Path:
    if name == "FRONTSERVER_TEMPLATE_DIR":
        return directory
    file = directory / "file"
    file.touch(mode=0o755)
    return file
