"""Which transactions are dead, and that no other is touched."""

from __future__ import annotations

import json

from frontserver.backends.dataplane.transactions import DeadTransactions
from tests.unit.dataplane.answering import Api, Said, refused

FAILED = {"id": "failed", "status": "failed"}
OPEN = {"id": "open", "status": "in_progress", "_version": 3}
LEAKED = {"id": "leaked", "status": "in_progress"}


def listing(*transactions: dict[str, object]) -> Said:
    return 200, json.dumps(transactions)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def deleted(api: Api) -> list[str]:
    return [line.rpartition("/")[2] for line in api.lines if line.startswith("DELETE")]


async def test_what_failed_is_deleted_and_what_can_be_committed_is_not() -> None:
    api = Api()
    api.says("GET /transactions", listing(OPEN, FAILED))
    api.says("DELETE /transactions/failed", (204, ""))

    await DeadTransactions(api.client()).delete()

    assert deleted(api) == ["failed"]


async def test_what_seems_open_is_deleted_once_no_write_takes_so_long() -> None:
    """Until then it may be somebody's write."""
    api, clock = Api(), Clock()
    api.says("GET /transactions", listing(LEAKED, OPEN))
    api.says("DELETE /transactions/leaked", (204, ""))
    transactions = DeadTransactions(api.client(), clock=clock)

    await transactions.delete()
    assert (deleted(api), transactions.due) == ([], False)

    clock.now += 15
    assert transactions.due
    await transactions.delete()
    assert (deleted(api), transactions.due) == (["leaked"], False)


async def test_a_write_that_has_ended_is_forgotten() -> None:
    api, clock = Api(), Clock()
    api.says("GET /transactions", listing(LEAKED), listing())
    transactions = DeadTransactions(api.client(), clock=clock)

    await transactions.delete()
    await transactions.delete()

    clock.now += 15
    assert not transactions.due


async def test_an_api_that_refuses_stops_nobody() -> None:
    api = Api()
    api.says("GET /transactions", refused(500, "no space left on device"))

    await DeadTransactions(api.client()).delete()

    assert deleted(api) == []
