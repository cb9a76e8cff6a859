"""A stretch is rendered again if anything about it is another, and only then."""

from __future__ import annotations

import threading

import msgspec
import pytest

from frontserver.planning.compile import HTTP_PROFILE, compile_route
from frontserver.planning.compiled import CompiledRoute
from frontserver.planning.layout import Pool, backend_name
from frontserver.rendering.render import Renderer
from frontserver.rendering.shards import STRETCH_SLOTS
from frontserver.rendering.stretches import StretchTexts
from frontserver.rendering.templates import Templates
from tests.unit.planning.routes import http

RENDERER = Renderer(Templates())
POOL = Pool(HTTP_PROFILE, STRETCH_SLOTS + 2)
FIRST = (POOL, 0)


def at(slot: int, target: str = "http://10.0.0.1:3000") -> dict[str, CompiledRoute]:
    """A route on this slot."""
    return {backend_name(HTTP_PROFILE.id, slot): compile_route(http("shop", target), {})}


@pytest.fixture
def texts() -> StretchTexts:
    made = StretchTexts(RENDERER)
    assert made.text(FIRST, at(3), "t")[1]
    return made


def test_the_same_is_not_rendered_again(texts: StretchTexts) -> None:
    text, is_another = texts.text(FIRST, at(3), "t")
    assert text == RENDERER.stretch(FIRST, at(3))
    assert not is_another


@pytest.mark.parametrize(
    ("part", "routes", "templates"),
    [
        (FIRST, {}, "t"),
        (FIRST, at(4), "t"),
        (FIRST, at(3, "http://10.0.0.2:3000"), "t"),
        (FIRST, at(3), "other"),
        ((msgspec.structs.replace(POOL, size=5), 0), at(3), "t"),
        ((POOL, 1), at(STRETCH_SLOTS), "t"),
    ],
    ids=["left", "another slot", "another target", "templates", "size", "another stretch"],
)
def test_what_is_another_is_rendered_again(
    texts: StretchTexts,
    part: tuple[Pool, int],
    routes: dict[str, CompiledRoute],
    templates: str,
) -> None:
    text, is_another = texts.text(part, routes, templates)
    assert is_another
    assert text == RENDERER.stretch(part, routes)


def test_elsewhere_in_the_pool_nothing_matters(texts: StretchTexts) -> None:
    assert not texts.text(FIRST, at(3) | at(STRETCH_SLOTS), "t")[1]


def test_a_shard_is_its_stretches_one_after_the_other(texts: StretchTexts) -> None:
    parts = [FIRST, (POOL, 1)]
    expected = RENDERER.stretch(parts[0], at(3)) + RENDERER.stretch(parts[1], at(3))
    assert texts.shard(parts, at(3), "t") == expected


def test_what_is_forgotten_is_rendered_again(texts: StretchTexts) -> None:
    texts.forget_all_but({HTTP_PROFILE.id: POOL})
    assert not texts.text(FIRST, at(3), "t")[1]
    texts.forget([FIRST])
    assert texts.text(FIRST, at(3), "t")[1]
    texts.forget_all_but({})
    assert texts.text(FIRST, at(3), "t")[1]


class Meeting(dict[str, Pool]):
    """When it is looked into for the first time, another thread renders a stretch meanwhile."""

    def __init__(self, texts: StretchTexts, pools: dict[str, Pool]) -> None:
        super().__init__(pools)
        self.other = threading.Thread(target=texts.text, args=((POOL, 1), {}, "t"))

    def __contains__(self, key: object) -> bool:
        if self.other.ident is None:
            self.other.start()
            # It is done by then, or waits.
            self.other.join(0.5)
        return super().__contains__(key)


def test_a_thread_forgets_while_another_renders(texts: StretchTexts) -> None:
    """What is to be loaded is checked beside the writing of what runs."""
    meeting = Meeting(texts, {HTTP_PROFILE.id: POOL})

    texts.forget_all_but(meeting)

    meeting.other.join()
    assert not texts.text((POOL, 1), {}, "t")[1]
