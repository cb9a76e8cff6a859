"""Places for names to be looked up, shared so that nobody waits for somebody else's names."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable


class Places:
    """`most` names have a place at once, `each` of one owner; owners take turns.

    So, however many names of one owner wait and however long theirs take, another's waits no
    longer than until the next place is free. A name of several owners goes in with the first of
    them whose turn it is.
    """

    def __init__(self, most: int, each: int) -> None:
        self._most = most
        self._each = each
        self._taken: Counter[str] = Counter()
        # Names that wait, with those in whose queues they are.
        self._waiting: dict[str, frozenset[str]] = {}
        # By owner, and first the one whose turn is next. A dictionary for its order.
        self._queues: OrderedDict[str, dict[str, None]] = OrderedDict()

    def wait(self, name: str, owners: Iterable[str]) -> None:
        """Queue a name behind others of its owners; where it waits already, it keeps its turn."""
        before = self._waiting.get(name, frozenset())
        self._waiting[name] = before.union(owners)
        for owner in self._waiting[name] - before:
            self._queues.setdefault(owner, {})[name] = None

    def keep(self, names: Collection[str]) -> None:
        """No others wait any more."""
        for name in [name for name in self._waiting if name not in names]:
            self._give_up(name)

    def take(self) -> tuple[str, str] | None:
        """A name that has a place from now on, and whose place it is; `None` if there is none."""
        if self._taken.total() >= self._most:
            return None
        for owner, queue in self._queues.items():
            if self._taken[owner] < self._each:
                name = next(iter(queue))
                self._taken[owner] += 1
                self._queues.move_to_end(owner)
                self._give_up(name)
                return name, owner
        return None

    def leave(self, owner: str) -> None:
        """One of the owner's places is free again."""
        self._taken[owner] -= 1
        if not self._taken[owner]:
            del self._taken[owner]

    def _give_up(self, name: str) -> None:
        for owner in self._waiting.pop(name):
            queue = self._queues[owner]
            del queue[name]
            if not queue:
                del self._queues[owner]
