"""The text of a configuration, where only what changed is rendered again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import NamedTuple

from frontserver.backends.dataplane import pools_file
from frontserver.backends.dataplane.ledger import marker
from frontserver.backends.port import State
from frontserver.errors import FrontServerError
from frontserver.planning.running import seats
from frontserver.rendering.invariants import check_invariants
from frontserver.rendering.render import (
    FRONTENDS,
    GLOBAL,
    PROFILES,
    SECTIONS,
    Renderer,
)
from frontserver.rendering.shards import Stretch, stretches
from frontserver.rendering.stretches import StretchTexts


class Form(Enum):
    """Where the pools of a configuration are."""

    WHOLE = auto()  # With all the rest; there is no pools file.
    ALONE = auto()  # With all the rest, whatever there is in the pools file.
    TRIAL = auto()  # With all the rest; the pools file shows whether HAProxy reads it.
    SPLIT = auto()  # In the pools file.


class Block(NamedTuple):
    """What belongs to a configuration in the pools file."""

    key: str
    text: str


class Text(NamedTuple):
    """A configuration: our sections, and what is ours in frontends of the operator's.

    `adopted` maps their names to modes (`http`, `tcp`) and lines; `block` goes into the pools file.
    """

    sections: str
    adopted: Mapping[str, tuple[str, str]] = {}
    block: Block | None = None


class Document:
    """Renders states. Blocks as long as `StretchTexts` does; call it from a thread."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._texts = StretchTexts(renderer)

    def text(self, state: State, label: str, form: Form = Form.WHOLE) -> Text:
        """The whole configuration, with the marker of this label.

        Raises `TemplateError` and `ConfigRejectedError`.
        """
        config, layout = state.config, state.layout
        frontends = config.frontends
        routes = seats(config, layout)
        frame = self._renderer.frame(frontends, generation=label)
        laid_out = [pool for _, pool in sorted(layout.pools.items())]
        profiles = self._renderer.profiles(frontends, (pool.profile for pool in laid_out))
        parts = [profiles]
        fresh = {**frame, PROFILES: profiles}
        self._texts.forget_all_but(layout.pools)
        changed: list[Stretch] = []
        for part in ((pool, number) for pool in laid_out for number in range(stretches(pool))):
            text, is_another = self._texts.text(part, routes, frontends.templates)
            if is_another:
                changed.append(part)
                fresh[f"{part[0].profile.id}-{part[1]}.cfg"] = text
            parts.append(text)
        try:
            check_invariants(fresh, listens=not frontends.adopts)
        except FrontServerError:
            # What is refused is looked at again.
            self._texts.forget(changed)
            raise
        parts.append(f"backend {marker(label)} from fs_http\n")
        pools = _joined(parts)
        parts = [frame[GLOBAL], frame[SECTIONS], frame[FRONTENDS]]
        if form is not Form.SPLIT:
            parts.append(pools)
        block = _block(label, form, pools)
        if form is not Form.WHOLE:
            parts.insert(0, pools_file.choosing(block.key if block else pools_file.NO_BLOCK))
        return Text(_joined(parts), self._renderer.adopted(frontends), block)


def _block(label: str, form: Form, pools: str) -> Block | None:
    if form in {Form.WHOLE, Form.ALONE}:
        return None
    witness = f"backend {pools_file.witness(label)} from fs_http\n"
    if form is Form.TRIAL:
        return Block(f"trial-{label}", witness)
    return Block(label, _joined([pools, witness]))


def _joined(parts: Iterable[str]) -> str:
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)
