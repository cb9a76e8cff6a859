"""The text of a configuration: whole, and rendered anew only where it is another."""

from __future__ import annotations

import msgspec
import pytest

from frontserver.backends.dataplane.document import Document
from frontserver.backends.dataplane.ledger import labels_in
from frontserver.backends.dataplane.places import DataPlaneDialect, Places
from frontserver.backends.port import State
from frontserver.errors import ConfigRejectedError
from frontserver.planning.layout import Layout
from frontserver.rendering.render import Renderer
from frontserver.rendering.shards import STRETCH_SLOTS, Stretch
from frontserver.rendering.templates import Templates
from tests.unit.planning.routes import FRONTENDS, POLICY, config, http

LABEL = "000001-0a0b0c0d"


class Counting(Renderer):
    """Notes the stretches that it renders."""

    def __init__(self) -> None:
        places = Places(maps="/maps", certificates="/ssl", general="/general")
        super().__init__(Templates(), DataPlaneDialect(places))
        self.rendered: list[tuple[str, int]] = []

    def stretch(self, part: Stretch, *args: object, **options: object) -> str:
        pool, number = part
        self.rendered.append((pool.profile.id, number))
        return super().stretch(part, *args, **options)  # type: ignore[arg-type]


def laid_out(*names: str, spare: int = 2 * STRETCH_SLOTS) -> State:
    wanted = config(*(http(name) for name in names))
    layout = Layout().reloaded({}, msgspec.structs.replace(POLICY, spare=spare))
    for key, route in sorted(wanted.routes.items()):
        layout = layout.place(key, route.profile)
    return State(wanted, layout)


def without(state: State, name: str) -> State:
    key = http(name).key
    return State(state.config.with_routes({key: None}), state.layout.vacate(key))


@pytest.fixture
def renderer() -> Counting:
    return Counting()


def test_the_text_has_everything_and_says_which_it_is(renderer: Counting) -> None:
    text = Document(renderer).text(laid_out("shop"), LABEL).sections

    assert labels_in(text) == (LABEL,)
    assert "frontend fs_in_http" in text
    assert "10.0.0.1:3000" in text
    assert "\nglobal" not in text
    assert text.endswith("from fs_http\n")


def test_the_same_again_renders_no_stretch(renderer: Counting) -> None:
    document, state = Document(renderer), laid_out("shop")
    first = document.text(state, LABEL)
    renderer.rendered.clear()

    assert document.text(state, LABEL) == first
    assert renderer.rendered == []


def test_a_change_renders_its_own_stretch_alone(renderer: Counting) -> None:
    document, state = Document(renderer), laid_out("shop")
    document.text(state, LABEL)
    profile = state.config.routes[http().key].profile
    renderer.rendered.clear()

    text = document.text(without(state, "shop"), LABEL).sections

    assert renderer.rendered == [(profile.id, 0)]
    assert "10.0.0.1:3000" not in text


def test_a_route_with_no_word_of_its_own_changed_renders_nothing(renderer: Counting) -> None:
    document, state = Document(renderer), laid_out("a", "b")
    document.text(state, LABEL)
    renderer.rendered.clear()

    document.text(state, "000002-0a0b0c0d")

    assert renderer.rendered == []


def test_a_pool_that_grows_renders_what_is_new(renderer: Counting) -> None:
    document = Document(renderer)
    document.text(laid_out("shop"), LABEL)
    renderer.rendered.clear()

    document.text(laid_out("shop", spare=3 * STRETCH_SLOTS), LABEL)

    assert {stretch for _, stretch in renderer.rendered} == {2}


def test_other_templates_render_all(renderer: Counting) -> None:
    document, state = Document(renderer), laid_out("shop")
    document.text(state, LABEL)
    stretches = sorted(renderer.rendered)
    renderer.rendered.clear()
    other = msgspec.structs.replace(FRONTENDS, templates="others")

    document.text(
        State(msgspec.structs.replace(state.config, frontends=other), state.layout), LABEL
    )

    assert sorted(renderer.rendered) == stretches


def test_whatever_came_before_the_text_is_that_of_a_new_document(renderer: Counting) -> None:
    document = Document(renderer)
    states = [laid_out("a", "b"), without(laid_out("a", "b"), "a"), laid_out("c"), laid_out()]
    for state in (*states, *reversed(states)):
        assert document.text(state, LABEL) == Document(renderer).text(state, LABEL)


def test_what_was_refused_is_looked_at_again(
    renderer: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    document, state = Document(renderer), laid_out("shop")
    with monkeypatch.context() as patch:
        patch.setattr(Renderer, "stretch", lambda *_, **__: "listen nobody\n    bad \x01\n")
        for _ in range(2):
            with pytest.raises(ConfigRejectedError):
                document.text(state, LABEL)
    assert document.text(state, LABEL) == Document(renderer).text(state, LABEL)
