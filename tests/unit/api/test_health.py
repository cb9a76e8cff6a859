"""Liveness and readiness."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from frontserver.errors import StorageError
from tests.unit.api.fakes import IN_STEP, World, assert_problem


async def test_the_process_is_alive_whatever_else_is_not(world: World) -> None:
    world.storage_failure = StorageError("gone")
    world.publisher.proxy = replace(IN_STEP, reachable=False)

    answer = await world.call("GET", "/health", token=None)

    assert answer.status_code == 200
    assert answer.json() == {"success": True, "status": "ok", "version": "1.2.3"}


async def test_ready_says_what_haproxy_runs(world: World) -> None:
    answer = await world.call("GET", "/health/ready", token=None)

    assert answer.status_code == 200
    assert answer.json() == {
        "success": True,
        "status": "ready",
        "version": "1.2.3",
        "haproxy": {
            "reachable": True,
            "inStep": True,
            "appliedRevision": 7,
            "storedRevision": 7,
            "version": "2.8.25",
            "reason": None,
            "counts": {"routes": 3},
            "warnings": [],
        },
    }


async def test_what_is_to_be_mended_but_stops_nothing_is_a_warning(world: World) -> None:
    world.publisher.proxy = replace(IN_STEP, warnings=("the changed templates aren't used",))

    answer = await world.call("GET", "/health/ready", token=None)

    assert answer.status_code == 200
    assert answer.json()["haproxy"]["warnings"] == ["the changed templates aren't used"]


@pytest.mark.parametrize(
    ("proxy", "reason"),
    [
        (
            replace(IN_STEP, reachable=False, in_step=False, reason="no socket"),
            "HAProxy can't be reached: no socket",
        ),
        (
            replace(IN_STEP, in_step=False, applied_revision=6),
            "HAProxy runs revision 6 of 7",
        ),
    ],
)
async def test_haproxy_away_or_behind_is_not_ready(
    world: World, proxy: object, reason: str
) -> None:
    world.publisher.proxy = proxy  # type: ignore[assignment]

    answer = await world.call("GET", "/health/ready", token=None)

    problem = assert_problem(answer, 503)
    assert problem["reasons"] == [reason]
    assert problem["haproxy"]["counts"] == {"routes": 3}
    assert problem["version"] == "1.2.3"
    assert answer.headers["retry-after"] == "5"


async def test_every_reason_is_named(world: World) -> None:
    world.storage_failure = StorageError("/secret/state.sqlite3 is locked")
    world.publisher.proxy = replace(IN_STEP, reachable=False)

    answer = await world.call("GET", "/health/ready", token=None)

    assert assert_problem(answer, 503)["reasons"] == [
        "the database doesn't answer",
        "HAProxy can't be reached",
    ]
    assert "secret" not in answer.text


async def test_a_database_that_hangs_is_not_ready(world: World) -> None:
    world.storage_failure = TimeoutError()

    problem = assert_problem(await world.call("GET", "/health/ready", token=None), 503)

    assert problem["reasons"] == ["the database doesn't answer within 3 s"]
