"""`docs/architecture.md` maps every package, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.docs.pages import ROOT, page

PAGE = page("docs/architecture.md")
SOURCE = ROOT / "src" / "frontserver"

_PATH = re.compile(r"`((?:src|templates|tests|harness|docs|changes)/[\w./-]*)`")
_CODE = re.compile(r"`([A-Za-z_]\w*)`")

# Words in code style that aren't names of Python.
WORDS = {
    "active",
    "agent",
    "app",
    "be_name",
    "certificates",
    "cli",
    "composition",
    "defaults",
    "errors",
    "failed",
    "frontends",
    "frontserver",
    "map_beg",
    "model",
    "pending",
    "wire",
    "Authorization",
    "FRONTSERVER_OLD_WORKER_MEMORY",
    "FRONTSERVER_PROFILES_PER_AGENT",
    "Forwarded",
    "Location",
}


def packages() -> list[str]:
    """The dotted names of all packages."""
    found = (file.parent.relative_to(ROOT / "src") for file in SOURCE.rglob("__init__.py"))
    return sorted(".".join(path.parts) for path in found if len(path.parts) > 1)


def top_modules() -> list[str]:
    """The dotted names of the modules that are in no package below ours."""
    return sorted(f"frontserver.{file.stem}" for file in SOURCE.glob("[a-z]*.py"))


@pytest.mark.parametrize("name", [*packages(), *top_modules()])
def test_the_map_has_every_package_and_top_module(name: str) -> None:
    rows = [line for line in PAGE.text.splitlines() if line.startswith("| `frontserver.")]

    assert any(f"`{name}`" in row for row in rows)


def test_the_map_has_nothing_else() -> None:
    named = set(re.findall(r"`(frontserver\.[\w.]+)`", PAGE.text))

    assert set() == named - {*packages(), *top_modules()}


@pytest.mark.parametrize("path", sorted(set(_PATH.findall(PAGE.text))))
def test_a_path_that_is_named_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_the_walk_names_files_of_every_layer() -> None:
    (walk,) = re.findall(r"^## One request.*?(?=^## )", PAGE.text, re.MULTILINE | re.DOTALL)
    layers = {Path(path).parts[2] for path in _PATH.findall(walk) if path.startswith("src/")}

    expected = {
        "api",
        "services",
        "security",
        "wire",
        "model",
        "storage",
        "reconcile",
        "planning",
        "backends",
        "haproxy",
        "rendering",
    }
    assert set() == expected - layers


def test_a_function_named_with_its_file_is_in_it() -> None:
    text = " ".join(PAGE.prose.split())
    pairs = [
        *re.findall(r"`(src/[\w/]+\.py)`: `(\w+)`", text),
        *(
            (file, name)
            for name, file in re.findall(r"`(\w+)`\)? (?:of|in) `(src/[\w/]+\.py)`", text)
        ),
    ]

    assert len(pairs) > 20
    assert [
        (file, name)
        for file, name in pairs
        if not re.search(
            rf"^\s*(?:(?:async )?def|class) {name}\b", (ROOT / file).read_text(), re.MULTILINE
        )
    ] == []


def test_functions_and_classes_that_are_named_exist() -> None:
    source = "\n".join(file.read_text(encoding="utf-8") for file in SOURCE.rglob("*.py"))
    defined = set(re.findall(r"^\s*(?:async )?(?:def|class) (\w+)", source, re.MULTILINE))
    defined |= set(re.findall(r"^([A-Z][A-Z_]+)\b.*=", source, re.MULTILINE))
    named = set(_CODE.findall(PAGE.prose)) - WORDS

    assert set() == named - defined
    assert set() == WORDS - set(_CODE.findall(PAGE.prose))
