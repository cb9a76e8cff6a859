"""Templates that change while HAProxy runs: taken up when good, told when not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from frontserver.errors import ConfigRejectedError, TemplateError
from frontserver.planning.compiled import CompiledConfig
from frontserver.rendering.origins import traced
from frontserver.rendering.render import Renderer
from frontserver.rendering.templates import Templates
from frontserver.rendering.updates import TemplateUpdates, rehearsed
from tests.unit.planning.routes import FRONTENDS, POLICY


class House:
    """Whoever uses templates: remembers those it was given and what it was warned of."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.used: list[str] = []
        self.rehearsals: list[tuple[str, str]] = []
        self.warnings: list[str | None] = []
        self.refusal: Exception | None = None
        self.updates = TemplateUpdates(
            Templates(directory),
            read=lambda: Templates(directory),
            rehearse=self._rehearse,
            use=lambda templates: self.used.append(templates.fingerprint()),
            warn=self.warnings.append,
        )

    async def _rehearse(self, before: Templates, after: Templates) -> None:
        self.rehearsals.append((before.fingerprint(), after.fingerprint()))
        if self.refusal:
            raise self.refusal

    def write(self, text: str) -> Path:
        path = self.directory / "custom" / "global.cfg.j2"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def test_changed_templates_are_used_once(house: House) -> None:
    house.write("    maxconn 1000\n")
    await house.updates.take_up()
    await house.updates.take_up()

    assert house.used == [Templates(house.directory).fingerprint()]
    assert house.warnings == [None, None]
    assert house.rehearsals == [(Templates().fingerprint(), house.used[0])]


async def test_unchanged_templates_cost_nothing(house: House) -> None:
    house.refusal = AssertionError("nobody needs to look at these")
    await house.updates.take_up()

    assert (house.used, house.warnings) == ([], [None])


async def test_a_broken_template_is_told_with_file_and_line_and_not_used(house: House) -> None:
    path = house.write("    maxconn 1\n{% if %}\n")
    await house.updates.take_up()

    assert house.used == []
    (warning,) = house.warnings
    assert warning is not None
    assert f"{path}:2: " in warning


async def test_what_haproxy_refuses_is_not_used(house: House) -> None:
    house.write("    nonsense\n")
    house.refusal = ConfigRejectedError("unknown keyword 'nonsense'")
    await house.updates.take_up()

    assert house.used == []
    assert "nonsense" in str(house.warnings)


async def test_mended_templates_are_used_and_the_warning_goes(house: House) -> None:
    house.write("{% broken")
    await house.updates.take_up()
    house.write("    maxconn 2\n")
    await house.updates.take_up()

    assert house.used == [Templates(house.directory).fingerprint()]
    assert house.warnings[-1] is None


async def test_templates_that_are_put_back_take_the_warning_away(house: House) -> None:
    path = house.write("{% broken")
    await house.updates.take_up()
    path.unlink()
    await house.updates.take_up()

    assert (house.used, house.warnings[-1]) == ([], None)


async def test_an_unforeseen_error_is_told_too_and_ends_nothing(house: House) -> None:
    house.write("    maxconn 3\n")
    house.refusal = ZeroDivisionError()
    asked = asyncio.Event()
    following = asyncio.create_task(house.updates.follow(asked))
    asked.set()
    while not house.warnings:
        await asyncio.sleep(0.01)
    house.refusal = None
    asked.set()
    while not house.used:
        await asyncio.sleep(0.01)
    following.cancel()

    assert "internal error" in str(house.warnings[0])


# --- the rehearsal ---


def frame_of(templates: Templates) -> CompiledConfig:
    return CompiledConfig(msgspec.structs.replace(FRONTENDS, extensions=templates.extensions()))


@pytest.mark.parametrize(
    ("text", "error"),
    [("{{ nothing }}\n", TemplateError), ("    http-request cache-use c\n", ConfigRejectedError)],
)
def test_a_profile_that_no_route_has_is_rehearsed_too(
    tmp_path: Path, text: str, error: type[Exception]
) -> None:
    path = tmp_path / "custom" / "profiles" / "gold.cfg.j2"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    templates = Templates(tmp_path)

    with pytest.raises(error):
        rehearsed(Renderer(templates), frame_of(templates), POLICY)


# --- where a refused line comes from ---


def test_a_refusal_names_the_line_of_the_template(house: House) -> None:
    path = house.write("    # fine\n    nonsense {{ 1 }}\n")
    renderer = Renderer(Templates(house.directory))
    rendered = house.directory / "00-global.cfg"
    rendered.write_text("global\n    nonsense 1\n")
    refusal = ConfigRejectedError("unknown keyword", file=str(rendered), line=2)

    found = traced(refusal, renderer)

    assert (found.file, found.line) == (str(path), 2)
    assert found.reason == f"unknown keyword\nmade by {path}:2: nonsense 1"


@pytest.mark.parametrize(
    ("file", "line"), [(None, None), ("/nowhere", 1), ("here", 1), ("here", 9)]
)
def test_a_refusal_stays_as_it_is_where_nothing_more_is_known(
    house: House, file: str | None, line: int | None
) -> None:
    here = house.directory / "here"
    here.write_text("made by nobody\n")
    refusal = ConfigRejectedError(
        "no reason", file=str(house.directory / file) if file else None, line=line
    )

    assert traced(refusal, Renderer(Templates(house.directory))) is refusal
