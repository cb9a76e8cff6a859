"""The commands in the documents exist, with the options they are shown with."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from importlib import metadata

import click
import pytest

from tests.unit.docs.pages import ROOT, pages

PROGRAMS = ("frontserver", "frontserver-agent")
SESSIONS = re.findall(
    r"^@nox\.session.*\ndef (\w+)\(", (ROOT / "noxfile.py").read_text(), re.MULTILINE
)
API = json.loads((ROOT / "docs" / "openapi.json").read_text())


def commands() -> Iterator[tuple[str, list[str]]]:
    """(page, words) of every command line in a shell block."""
    for each in pages():
        for block in (*each.blocks("bash"), *each.blocks("sh")):
            for line in block.replace("\\\n", " ").splitlines():
                # A wrong quote is a wrong command: shlex raises.
                words = shlex.split(line, comments=True)
                for part in _parts(words):
                    yield str(each.path), part


def _parts(words: list[str]) -> Iterator[list[str]]:
    """The commands joined by `&&`, without assignments before them and redirections after."""
    part: list[str] = []
    for word in [*words, "&&"]:
        if word not in {"&&", "||", "|", ";", "&"}:
            part.append(word)
            continue
        while part and re.match(r"[A-Z_]+=", part[0]):
            part = part[1:]
        for end in (">", ">>", "<", "2>"):
            if end in part:
                part = part[: part.index(end)]
        if part:
            yield part
        part = []


ALL = list(commands())


def entry_point(program: str) -> click.Command:
    """The root command of an installed program."""
    if program == "frontserver":
        # Its entry point is a function around the group, which turns errors into sentences.
        from frontserver.cli.main import group

        return group
    (found,) = metadata.entry_points(group="console_scripts", name=program)
    loaded = found.load()
    assert isinstance(loaded, click.Command)
    return loaded


def unknown(program: str, words: list[str]) -> list[str]:
    """The words of a command line that its program doesn't know."""
    command = entry_point(program)
    names = _option_names(command)
    left = list(words)
    while left:
        word = left.pop(0)
        if word.startswith("--"):
            if word.partition("=")[0] not in names | {"--help", "--version"}:
                return [word]
        elif isinstance(command, click.Group) and word[0] not in "<$":
            found = command.get_command(click.Context(command), word)
            if found is None:
                return [word]
            command = found
            names |= _option_names(command)
    return []


def _option_names(command: click.Command) -> set[str]:
    return {
        name
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
    }


def of(program: str) -> list[tuple[str, list[str]]]:
    return [(where, words) for where, words in ALL if words[0] == program]


def test_the_readme_starts_with_the_two_commands() -> None:
    (readme,) = (each for each in pages() if str(each.path) == "README.md")

    assert [block.strip() for block in readme.blocks("bash")] == ["./run demo", "./run test"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_know_the_commands_and_options_they_are_shown_with(program: str) -> None:
    shown = of(program)

    assert shown
    assert [(where, words) for where, words in shown if unknown(program, words[1:])] == []


@pytest.mark.parametrize(
    "words", [["serve", "--wrong"], ["wrong"], ["agents", "wrong"], ["config", "check", "--out"]]
)
def test_a_command_that_does_not_exist_would_be_noticed(words: list[str]) -> None:
    assert unknown("frontserver", words)


def test_options_of_the_demo_in_prose_exist() -> None:
    shown = [
        option
        for each in pages()
        for line in re.findall(r"`\./run demo ([^`]+)`", each.text)
        for option in line.split()
    ]

    assert shown
    assert [option for option in shown if unknown("frontserver", ["demo", option])] == []


def test_sessions_that_are_named_exist() -> None:
    named = {
        word
        for each in pages()
        for line in re.findall(r"(?:\./run test|nox -s) ([a-z0-9 ]+)", each.text)
        for word in line.split()
    }

    assert {"lint", "unit", "constraints"} <= named
    assert named - set(SESSIONS) == set()


def test_the_test_command_runs_every_session_of_ci() -> None:
    noxfile, ci = (ROOT / "noxfile.py").read_text(), (ROOT / ".ci" / "run").read_text()
    (listing,) = re.findall(r"^nox\.options\.sessions = \[([^\]]*)\]$", noxfile, re.MULTILINE)
    listed = re.findall(r'"(\w+)"', listing)
    (script,) = re.findall(r"sessions=\((lint[^)]*)\)", (ROOT / "run").read_text())

    assert script.split() == listed
    lanes = re.findall(r"^readonly (?:waiting|computing)=\((.*)\)$", ci, re.MULTILINE)
    assert sorted(" ".join(lanes).split()) == sorted(listed)
    # `versions` needs programs to be named; CI names them.
    others = {"bench", "constraints", "matrix", "soak", "versions"}
    assert set(SESSIONS) - set(script.split()) <= others


def test_the_contributing_guide_has_every_session() -> None:
    (guide,) = (each for each in pages() if str(each.path) == "CONTRIBUTING.md")
    rows = set(re.findall(r"^\| `(\w+)` \|", guide.text, re.MULTILINE))

    assert set(SESSIONS) - rows <= {"bench", "constraints"}
    assert rows - set(SESSIONS) == set()


def test_files_that_the_guide_names_exist() -> None:
    (guide,) = (each for each in pages() if str(each.path) == "CONTRIBUTING.md")
    named = re.findall(r"`((?:src|tests|templates|docs|changes|harness)/[\w./-]*)`", guide.text)

    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_run_script_explains_itself_and_refuses_what_it_does_not_know() -> None:
    help_text = subprocess.run([ROOT / "run", "--help"], capture_output=True, text=True, check=True)
    wrong = subprocess.run([ROOT / "run", "wrong"], capture_output=True, text=True, check=False)

    assert all(word in help_text.stdout for word in ("./run demo", "./run test", "./run install"))
    assert wrong.returncode == 2
    assert "./run demo" in wrong.stderr


def test_requests_that_are_shown_are_in_the_api() -> None:
    shown = [
        (where, _method(words), path)
        for where, words in ALL
        if words[0] == "curl"
        for path in _api_paths(words)
    ]

    assert len(shown) > 3
    assert [each for each in shown if each[1] not in _methods(each[2])] == []


def _api_paths(words: list[str]) -> list[str]:
    urls = [re.match(r"https?://[^/]*:8080(/[^?]*)", word) for word in words]
    return [url[1] for url in urls if url]


def _method(words: list[str]) -> str:
    if "-X" in words:
        return words[words.index("-X") + 1].lower()
    return "post" if "-d" in words else "get"


def _methods(path: str) -> set[str]:
    for template, operations in API["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            return set(operations)
    return set()


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["project"]["dependencies"],
        *(item for group in project["project"]["optional-dependencies"].values() for item in group),
        *(item for group in project["dependency-groups"].values() for item in group),
    ]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {_normalised(line.partition("==")[0]) for line in lines}

    assert [line for line in lines if not re.match(r"[\w.-]+==[\w.+!-]+( ; .+)?$", line)] == []
    assert {_normalised(re.split(r"[^\w.-]", item)[0]) for item in wanted} - pinned == {
        "frontserver"
    }


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
