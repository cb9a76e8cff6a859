"""What agents may ask for: strategies, and what becomes of what they draw.

An `Ask` is drawn without knowing what there is; `change` makes a change of it that fits the model:
mostly one that isn't refused.
"""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from tests.stateful.model import Change, Model, Place, Publish, Remove, Wish
from tests.stateful.site import AGENTS, NAMES, PATHS
from tests.stateful.visits import MARK


class Ask(msgspec.Struct, frozen=True):
    """Somebody wants something: `wish` at `place`, or a removal.

    `bold`: of a name that may be another's. Targets and headers of the wish are numbers.
    """

    agent: str
    place: Place
    wish: Wish | None
    bold: bool = False


def change(ask: Ask, model: Model, example: int) -> Change:
    """Asked by whoever has the name, unless it is a bold one; removed is something that is there.

    Names of headers are those of the example alone, so that HAProxy has no such profile yet.
    """
    place = ask.place
    if ask.wish is None and not ask.bold:
        listed = sorted(each for agent in AGENTS for each in model.listed(agent))
        if listed:
            place = listed[(NAMES.index(place.name) + 3 * PATHS.index(place.path)) % len(listed)]
    agent = ask.agent if ask.bold else model.owner(place.name) or ask.agent
    if ask.wish is None:
        return Remove(agent, place)
    return Publish(agent, place, _of(ask.wish, agent, example))


def publish(ask: Ask, model: Model, example: int, agent: str | None = None) -> Publish:
    """A route that is asked for, by `agent` if one is given."""
    assert ask.wish is not None
    who = agent or (ask.agent if ask.bold else model.owner(ask.place.name) or ask.agent)
    return Publish(who, ask.place, _of(ask.wish, who, example))


def rows(asked: list[Ask], model: Model, example: int) -> list[list[Change]]:
    """Changes by agent, each of names that no other agent asks for."""
    found: list[list[Change]] = []
    for number, agent in enumerate(AGENTS):
        own = {place.name for place in model.listed(agent)}
        if model.owner(NAMES[number]) is None:
            own.add(NAMES[number])
        names = sorted(own)
        row: list[Change] = []
        for ask in asked if names else ():
            if ask.agent != agent:
                continue
            place = Place(names[NAMES.index(ask.place.name) % len(names)], ask.place.path)
            row.append(
                Remove(agent, place)
                if ask.wish is None
                else Publish(agent, place, _of(ask.wish, agent, example))
            )
        found.append(row)
    return found


def _of(wish: Wish, agent: str, example: int) -> Wish:
    return msgspec.structs.replace(
        wish,
        targets=tuple(f"{agent}-{number}" for number in wish.targets),
        drained=tuple(f"{agent}-{number}" for number in wish.drained),
        header=wish.header and (f"{MARK}{example}-{wish.header[0]}", wish.header[1]),
    )


def _rarely(value: Any, usual: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([usual, usual, usual, value])


@st.composite
def _wishes(draw: st.DrawFn) -> Wish:
    targets = draw(st.sampled_from([("1",), ("2",), ("1", "2")]))
    drained: tuple[str, ...] = ()
    if len(targets) == 2:
        drained = draw(st.sampled_from([(), ("1",), ("2",)]))
    tls = draw(_rarely(False, True))
    return Wish(
        targets=targets,
        drained=drained,
        maintenance=draw(_rarely(True, False)),
        redirect=tls and draw(_rarely(True, False)),
        tls=tls,
        check=draw(st.sampled_from(["", "", "connect", "/healthz"])),
        header=draw(st.sampled_from([None, None, ("1", "red"), ("1", "blue"), ("2", "red")])),
        balance=draw(st.sampled_from(["roundrobin", "roundrobin", "leastconn", "first"])),
    )


_places = st.builds(Place, st.sampled_from(NAMES), st.sampled_from(PATHS))
_bold = st.sampled_from([False, False, False, False, True])

plain = st.builds(Wish, targets=st.sampled_from([("1",), ("2",)]))
publishes = st.builds(Ask, st.sampled_from(AGENTS), _places, _wishes(), _bold)
removes = st.builds(Ask, st.sampled_from(AGENTS), _places, st.none(), _bold)
asks = st.one_of(publishes, publishes, removes)
