"""Actions → runtime commands, many routes at a time, each judged and read back.

HAProxy management guide, section 9.3 (Unix Socket commands).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice

from frontserver.backends.file.careful import Careful
from frontserver.backends.file.leaving import Leaving, ServerPath
from frontserver.backends.file.mirror import Mirror
from frontserver.backends.file.phrases import (
    Phrase,
    deletion,
    differs,
    farewell,
    phrases,
    questions,
)
from frontserver.errors import CommandRefusedError
from frontserver.haproxy.answers import is_absent
from frontserver.haproxy.reads import parse_server_states, parse_sessions
from frontserver.haproxy.runtime import RuntimeClient
from frontserver.model.routes import RouteKey
from frontserver.planning.actions import (
    Action,
    CutServer,
    DropBackend,
    DropEntry,
    PutEntry,
    Removal,
    RetireServer,
)
from frontserver.planning.plan import RouteSteps

# Routes a conversation: a few hundred commands, a few milliseconds.
_AT_ONCE = 50


class Performer:
    """Carries out actions on one HAProxy. One caller at a time.

    What is as expected is said at once, and read back; whatever else comes up is the careful
    one's.
    """

    def __init__(self, runtime: RuntimeClient, mirror: Mirror, leaving: Leaving) -> None:
        self._runtime = runtime
        self._mirror = mirror
        self._leaving = leaving
        self._careful = Careful(runtime, mirror, leaving)

    async def take(self, steps: Sequence[RouteSteps]) -> Mapping[RouteKey, str]:
        """Take steps, with a look whether they took effect before old servers go.

        Returns the routes that failed, with HAProxy's reason; whatever was begun for them is
        undone. Raises `ProxyUnavailableError`.
        """
        failed: dict[RouteKey, str] = {}
        for first in range(0, len(steps), _AT_ONCE):
            failed |= await self._take(steps[first : first + _AT_ONCE])
        return failed

    async def _take(self, steps: Sequence[RouteSteps]) -> dict[RouteKey, str]:
        said = [(step, self._said(step)) for step in steps]
        doubtful = [step for step, sentence in said if sentence is None]
        sentences = [(step, sentence) for step, sentence in said if sentence is not None]
        doubtful += await self._say(sentences)
        failed: dict[RouteKey, str] = {}
        for step in doubtful:
            try:
                await self._careful.take(step)
            except CommandRefusedError as error:
                failed[step.key] = error.message
        # There is no way back from these.
        await self._remove([step for step in steps if step.key not in failed])
        return failed

    def _said(self, step: RouteSteps) -> list[Phrase] | None:
        if step.vacated is not None and step.new is not None:
            # It carries traffic: nothing leads to another backend before that is seen to be ready.
            return None
        sentence: list[Phrase] = []
        for action in step.actions:
            if isinstance(action, Removal):
                continue
            known = None
            if isinstance(action, PutEntry):
                known = self._mirror.value(action.map, action.key)
            if (said := phrases(action, known)) is None:
                return None
            sentence += said
        return sentence

    async def _say(
        self, sentences: Sequence[tuple[RouteSteps, Sequence[Phrase]]]
    ) -> list[RouteSteps]:
        """Say it all and ask what came of it, at once; the steps that aren't as expected."""
        said = [phrase.command for _, sentence in sentences for phrase in sentence]
        asked = [questions(step) for step, _ in sentences]
        answers = iter(await self._runtime.run([*said, *chain.from_iterable(asked)]))
        worked = [
            [phrase.worked(answer) for phrase, answer in zip(sentence, answers, strict=False)]
            for _, sentence in sentences
        ]
        return [
            step
            for (step, _), each, some in zip(sentences, worked, asked, strict=True)
            if differs(step, list(islice(answers, len(some)))) is not None or not all(each)
        ]

    async def _remove(self, steps: Sequence[RouteSteps]) -> None:
        leave: dict[ServerPath, bool] = {}
        for step in steps:
            if step.new is None:
                # Its streams end, wherever they are: also where it was before a change.
                leave |= dict.fromkeys(self._leaving.of(step.key), True)
            leave |= {(a.backend, a.name): isinstance(a, CutServer) for a in step.removals}
        parting = [p for (b, n), cut in leave.items() for p in farewell(b, n, cut=cut)]
        answers = iter(await self._runtime.run([phrase.command for phrase in parting]))
        for (backend, name), cut in leave.items():
            said = farewell(backend, name, cut=cut)
            heard = list(islice(answers, len(said)))
            if not said[0].worked(heard[0]):
                # It must not go on serving; the careful one says what is wrong.
                removal = CutServer(backend, name) if cut else RetireServer(backend, name)
                await self._careful.perform(removal)
            elif said[-1].worked(heard[-1]):
                self._leaving.gone((backend, name))
            else:
                self._leaving.add((backend, name), cut=cut)
        for step in steps:
            self._leaving.belong(((a.backend, a.name) for a in step.removals), step.key)
        if any(server in self._leaving for server in leave):
            # 2.8 lets a server go only a moment after its streams were ended.
            await self.sweep(leave)

    async def perform(self, actions: Sequence[Action]) -> None:
        """Actions of no route; raises `CommandRefusedError` or `ProxyUnavailableError`."""
        if all(isinstance(action, DropEntry | DropBackend) for action in actions):
            said = [p for action in actions for p in phrases(action, None) or ()]
            answers = await self._runtime.run([phrase.command for phrase in said])
            if all(p.worked(answer) for p, answer in zip(said, answers, strict=True)):
                return
        for action in actions:
            await self._careful.perform(action)

    async def sweep(self, servers: Iterable[ServerPath] | None = None) -> None:
        """Delete servers that were leaving (all, or these), as far as their streams have ended."""
        leaving = self._leaving
        some = [server for server in (leaving if servers is None else servers) if server in leaving]
        said = [deletion("/".join(server), cut=leaving.is_cut(server)) for server in some]
        answers = iter(await self._runtime.run([p.command for part in said for p in part]))
        for server, part in zip(some, said, strict=True):
            heard = list(islice(answers, len(part)))
            if part[-1].worked(heard[-1]):
                leaving.gone(server)

    async def idle(self, backends: Sequence[str]) -> frozenset[str]:
        """Those of the backends that have no server and no stream left."""
        asked = [q for b in backends for q in (f"show servers state {b}", f"show stat {b} 2 -1")]
        answers = iter(await self._runtime.run(asked))
        idle: set[str] = set()
        for backend in backends:
            servers, sessions = next(answers), next(answers)
            if is_absent(sessions) or (
                not parse_server_states(servers).get(backend) and not parse_sessions(sessions).busy
            ):
                idle.add(backend)
        return frozenset(idle)
