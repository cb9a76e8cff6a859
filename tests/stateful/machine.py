"""Random requests, faults and upgrades; after each step HAProxy does as the model says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.stateful import faults
from tests.stateful.model import Change, Place, PublishMongo, RemoveMongo, Wish
from tests.stateful.refusals import REFUSED
from tests.stateful.site import AGENTS, PATIENCE, Site
from tests.stateful.sites import Sites
from tests.stateful.wishes import Ask, asks, change, plain, publish, publishes, rows

_few = st.lists(asks, max_size=4)


class FrontServer(RuleBasedStateMachine):
    """One example: it begins without routes, and ends whole, or its site is nobody else's.

    Preconditions depend on the steps before alone: what a killed front server did isn't always the
    same, and hypothesis wants the same choices whenever it repeats a sequence.
    """

    def __init__(self, sites: Sites) -> None:
        super().__init__()
        self.site: Site = sites.site()
        self._last: Change | None = None

    @initialize()
    def nothing_is_there(self) -> None:
        with self._unless_it_fails():
            self.site.begin()

    # --- what agents ask for ---

    @rule(ask=asks)
    def ask(self, ask: Ask) -> None:
        """It is answered as it must be, and holds at once."""
        with self._unless_it_fails():
            self._last = self._change(ask)
            self.site.ask(self._last)

    @rule(
        agent=st.sampled_from(AGENTS),
        number=st.sampled_from([None, 1, 2]),
        check=st.booleans(),
        wait=st.sampled_from([0, PATIENCE]),
    )
    def ask_for_mongodb(self, agent: str, number: int | None, check: bool, wait: int) -> None:
        """A MongoDB route, or its removal."""
        with self._unless_it_fails():
            self._last = RemoveMongo(agent)
            if number is not None:
                self._last = PublishMongo(agent, f"{agent}-mongo-{number}", check)
            self.site.ask(self._last, wait=wait)
            if not wait:
                self.site.until_it_agrees()

    @precondition(lambda self: self._last is not None)
    @rule()
    def repeat(self) -> None:
        """The same request again."""
        with self._unless_it_fails():
            assert self._last is not None
            self.site.ask(self._last)

    @rule(ask=publishes, wish=plain)
    def ask_by_program(self, ask: Ask, wish: Wish) -> None:
        """By the agents' own program, which speaks of whole domains."""
        with self._unless_it_fails():
            whole = Ask(ask.agent, Place(ask.place.name), wish, ask.bold)
            self.site.ask_by_program(publish(whole, self.site.model, self.site.example))

    @rule(asked=st.lists(publishes, min_size=1, max_size=5))
    def ask_together(self, asked: list[Ask]) -> None:
        """A batch of the operator's."""
        with self._unless_it_fails():
            changes = [publish(ask, self.site.model, self.site.example) for ask in asked]
            self.site.ask_together(changes, by=None)

    @rule(asked=st.lists(publishes, min_size=1, max_size=5))
    def ask_together_as_agent(self, asked: list[Ask]) -> None:
        """A batch of an agent's own, some of it perhaps by names of others."""
        with self._unless_it_fails():
            agent = asked[0].agent
            changes = [publish(ask, self.site.model, self.site.example, agent) for ask in asked]
            self.site.ask_together(changes, by=agent)

    @rule(what=st.sampled_from(sorted(REFUSED)))
    def ask_in_vain(self, what: str) -> None:
        """Nothing changes."""
        with self._unless_it_fails():
            status, send = REFUSED[what]
            self.site.note(f"in vain: {what}")
            answer = send(self.site)
            assert answer.status_code == status, (what, answer.text)

    @rule(asked=st.lists(asks, min_size=2, max_size=6))
    def ask_in_a_hurry(self, asked: list[Ask]) -> None:
        """One after the other without waiting; all of it comes about."""
        with self._unless_it_fails():
            self._hurry(asked)
            self.site.until_it_agrees()

    @precondition(lambda self: self._last is not None)
    @rule(which=st.integers(0, 2))
    def leave(self, which: int) -> None:
        """An agent goes, one that has something if there is one, and comes back with nothing."""
        with self._unless_it_fails():
            agents = self.site.model.agents or AGENTS
            self.site.leave(agents[which % len(agents)])
            self._last = None
            self.site.until_it_agrees()

    # --- what happens to it ---

    @rule(fault=st.sampled_from(sorted(faults.FAULTS)), before=_few, during=_few)
    def suffer(self, fault: str, before: list[Ask], during: list[Ask]) -> None:
        """Requests that were answered a moment before are kept, and others come meanwhile."""
        self._suffer([(fault, faults.FAULTS[fault])], before, during)

    @precondition(lambda self: self.site.stack.dataplane is not None)
    @rule(fault=st.sampled_from(sorted(faults.DATAPLANE_FAULTS)), before=_few, during=_few)
    def suffer_of_the_dataplane(self, fault: str, before: list[Ask], during: list[Ask]) -> None:
        """The same for the Data Plane API."""
        self._suffer([(fault, faults.DATAPLANE_FAULTS[fault])], before, during)

    @rule(
        names=st.lists(st.sampled_from(sorted(faults.FAULTS)), min_size=2, max_size=3),
        before=_few,
        during=_few,
    )
    def suffer_much(self, names: list[str], before: list[Ask], during: list[Ask]) -> None:
        """One after the other, before anything has healed."""
        self._suffer([(name, faults.FAULTS[name]) for name in names], before, during)

    @precondition(lambda self: len(self.site.exchange.versions) > 1)
    @rule(which=st.integers(0, 2), before=_few, during=_few)
    def exchange_haproxy(self, which: int, before: list[Ask], during: list[Ask]) -> None:
        """Another version of HAProxy, newer or older."""
        versions = self.site.exchange.versions
        now = versions.index(self.site.exchange.version)
        others = versions[now + 1 :] + versions[:now]
        version = others[which % len(others)]

        def exchange(site: Site, asks: faults.During) -> None:
            faults.exchange_haproxy(site, version, asks)

        self._suffer([(f"HAProxy {versions[now]} -> {version}", exchange)], before, during)

    @precondition(lambda self: not self.site.edited)
    @rule(during=_few)
    def leave_files_alone(self, during: list[Ask]) -> None:
        """What is on disk leads visitors just as what ran did."""
        self._suffer([("leave_files_alone", faults.leave_files_alone)], [], during)

    @precondition(lambda self: self.site.stack.dataplane is None)
    @rule(
        edit=st.sampled_from(sorted(faults.EDITS)),
        then=st.sampled_from(["nothing", *sorted(faults.FAULTS)]),
        during=_few,
    )
    def edit_files(self, edit: str, then: str, during: list[Ask]) -> None:
        """Somebody changes files, and perhaps has HAProxy read them."""

        def edited(site: Site, asks: faults.During) -> None:
            faults.edit_files(site, edit)
            if then == "nothing":
                asks()
            else:
                faults.FAULTS[then](site, asks)

        self._suffer([(f"{edit}, then {then}", edited)], [], during)

    @rule(
        asked=st.lists(asks, min_size=4, max_size=12),
        fault=st.sampled_from(["nothing", "nothing", *sorted(faults.BEHIND)]),
    )
    def ask_at_once(self, asked: list[Ask], fault: str) -> None:
        """Agents beside each other, while something happens to HAProxy."""
        with self._unless_it_fails():
            self.site.note(f"beside each other, meanwhile {fault}")
            happens = faults.BEHIND.get(fault)
            self.site.ask_at_once(
                rows(asked, self.site.model, self.site.example),
                lambda: happens(self.site, faults.quiet) if happens else None,
            )
            self._last = None
            self.site.until_it_agrees()

    @rule(asked=st.lists(asks, min_size=2, max_size=6), after=st.integers(0, 5))
    def kill_front_while_asked(self, asked: list[Ask], after: int) -> None:
        """SIGKILL to the front server while it answers: what was answered is kept."""

        def cut() -> None:
            self.site.stack.front.kill()
            self.site.stack.front.start(ready=False)

        with self._unless_it_fails():
            self.site.note(f"the front server is killed after {after} answers")
            changes = (self._change(ask) for ask in asked)
            self.site.ask_until_cut(changes, cut, after)
            self._last = None
            self.site.until_it_agrees()

    # --- what must be so after each step ---

    @invariant()
    def haproxy_does_as_the_model_says(self) -> None:
        """At once: whatever needed time to heal has had it."""
        with self._unless_it_fails():
            self.site.agree()

    def _suffer(
        self, suffered: list[tuple[str, faults.Fault]], before: list[Ask], during: list[Ask]
    ) -> None:
        with self._unless_it_fails():
            self._hurry(before)
            for name, fault in suffered:
                self.site.note(f"fault: {name}")
                fault(self.site, lambda: self._hurry(during))
                self.site.settled = False
            self.site.until_it_agrees()

    def _hurry(self, asked: list[Ask]) -> None:
        for ask in asked:
            self._last = self._change(ask)
            self.site.ask(self._last, wait=0)

    def _change(self, ask: Ask) -> Change:
        return change(ask, self.site.model, self.site.example)

    @contextlib.contextmanager
    def _unless_it_fails(self) -> Iterator[None]:
        self.site.sound = False
        yield
        self.site.sound = True
