"""The whole file, sections, transactions and reloads, as the real API answers them."""

from __future__ import annotations

import httpx
import pytest

from frontserver.dataplane.client import DataPlaneClient
from frontserver.dataplane.configuration import Transaction
from frontserver.dataplane.errors import (
    AbsentError,
    DataPlaneError,
    OutcomeUnknownError,
    RuntimeActionError,
    TooManyTransactionsError,
    UnsayableError,
    VersionConflictError,
)
from frontserver.errors import ConfigRejectedError
from tests.unit.dataplane.answering import SOCKET, Api, refused

TEXT = "# _md5hash=93110decc5222b4d6c5c9dbfb8437e2a\n# _version=2\n\nbackend slot_1\n"
WRITTEN = (201, TEXT, {"Configuration-Version": "3"})
CONFLICT = refused(409, "version mismatch: version in configuration file is 2, given version is 7")
RAW = "/configuration/raw"


async def test_the_file_comes_with_the_version_of_memory_and_of_disk() -> None:
    api = Api()
    headers = {"Configuration-Version": "3", "Configuration-Checksum": "93110dec"}
    api.says(f"GET {RAW}", (200, TEXT, headers))

    raw = await api.client().configuration.raw()

    assert (raw.text, raw.version, raw.version_on_disk, raw.checksum) == (TEXT, 3, 2, "93110dec")


async def test_a_file_that_the_api_never_wrote_has_no_version_on_disk() -> None:
    api = Api()
    api.says(f"GET {RAW}", (200, "", {"Configuration-Version": "1"}))

    raw = await api.client().configuration.raw()

    assert (raw.version, raw.version_on_disk, raw.checksum) == (1, None, "")


async def test_what_is_not_utf_8_goes_back_byte_for_byte() -> None:
    foreign = b"# M\xfcnchen\n"
    written: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        written.append(request.content)
        headers = {"Configuration-Version": "1"}
        return httpx.Response(201 if request.content else 200, content=foreign, headers=headers)

    transport = httpx.MockTransport(answer)
    client = DataPlaneClient("http://dp.test", user=None, password=None, transport=transport)
    raw = await client.configuration.raw()

    await client.configuration.replace_raw(raw.text, version=1, reload=True)

    assert written == [b"", foreign]


@pytest.mark.parametrize(("reload", "word"), [(True, "force_reload"), (False, "skip_reload")])
async def test_a_new_file_is_loaded_or_only_kept(reload: bool, word: str) -> None:
    api = Api()
    api.says(f"POST {RAW}?version=2&{word}=true", WRITTEN)

    assert await api.client().configuration.replace_raw(TEXT, version=2, reload=reload) == 3
    (request,) = api.requests
    assert request.headers["content-type"] == "text/plain"
    assert request.content == TEXT.encode()
    assert "x-runtime-actions" not in request.headers


async def test_actions_go_with_a_file_that_is_only_kept() -> None:
    api = Api()
    api.says(f"POST {RAW}", WRITTEN)
    actions = ["SetServerAddr a s1 127.0.0.1 80", "SetServerState a s1 ready"]

    await api.client().configuration.replace_raw(TEXT, version=2, reload=False, actions=actions)

    assert api.requests[0].headers["x-runtime-actions"] == ";".join(actions)


@pytest.mark.parametrize(
    ("action", "reload"),
    [("a;b", False), ("a\nb", False), ("SetServerState ü", False), ("a", True)],
)
async def test_actions_that_cannot_be_said_are_not_sent(action: str, reload: bool) -> None:
    api = Api()
    configuration = api.client().configuration

    with pytest.raises(UnsayableError):
        await configuration.replace_raw(TEXT, version=2, reload=reload, actions=[action])
    assert api.requests == []


async def test_a_failed_action_is_told_from_a_refused_file() -> None:
    api = Api()
    said = f"cannot execute SetServerAddr: {SOCKET} [3]  No such backend. [set server a/b addr c]"
    api.says(f"POST {RAW}", refused(500, said), CONFLICT, refused(400, "validation error: x"))
    configuration = api.client().configuration

    with pytest.raises(RuntimeActionError, match=r"SetServerAddr: No such backend\.$"):
        await configuration.replace_raw(TEXT, version=2, reload=False, actions=["x"])
    with pytest.raises(VersionConflictError):
        await configuration.replace_raw(TEXT, version=2, reload=False)
    with pytest.raises(ConfigRejectedError):
        await configuration.replace_raw(TEXT, version=2, reload=False)


async def test_a_deferred_reload_is_not_taken_for_a_loaded_file() -> None:
    api = Api()
    api.says(f"POST {RAW}", (202, TEXT, {"Configuration-Version": "3", "Reload-ID": "x-0"}))

    with pytest.raises(DataPlaneError, match="unexpected 202"):
        await api.client().configuration.replace_raw(TEXT, version=2, reload=True)


async def test_a_lost_answer_leaves_the_outcome_open_and_nothing_is_repeated() -> None:
    api = Api()
    api.says(f"POST {RAW}", httpx.ReadError("reset"))

    with pytest.raises(OutcomeUnknownError):
        await api.client().configuration.replace_raw(TEXT, version=2, reload=True)
    assert len(api.requests) == 1


async def test_a_file_can_be_checked_without_being_kept() -> None:
    api = Api()
    api.says(f"POST {RAW}?only_validate=true&skip_version=true", (202, TEXT))
    configuration = api.client().configuration

    await configuration.validate_raw("backend x\n")
    api.says(
        f"POST {RAW}?only_validate=true&skip_version=true", refused(400, "validation error: x")
    )
    with pytest.raises(ConfigRejectedError):
        await configuration.validate_raw("backend x\n")


async def test_transactions_are_listed_with_those_that_are_dead() -> None:
    api = Api()
    listed = '[{"_version":4,"id":"a","status":"in_progress"},{"id":"b","status":"failed"}]'
    api.says("GET /transactions", (200, listed))

    assert await api.client().configuration.transactions() == (
        Transaction("a", "in_progress", 4),
        Transaction("b", "failed", None),
    )


async def test_a_transaction_is_begun_filled_and_committed() -> None:
    api = Api()
    api.says("POST /transactions", (201, '{"_version":4,"id":"t1","status":"in_progress"}'))
    one = "/configuration/backends/slot_1?full_section=true&transaction_id=t1"
    api.says(f"PUT {one}", refused(404, "missing object: Backend slot_1 does not exist"))
    api.says("POST /configuration/backends", (202, "{}"))
    api.says(f"GET {one}", (200, '{"name":"slot_1","mode":"http"}'))
    api.says("PUT /transactions/t1", (200, '{"_version":4,"id":"t1","status":"success"}'))
    configuration = api.client().configuration

    transaction = await configuration.begin(4)
    await configuration.put_section("backends", "slot_1", {"mode": "http"}, transaction.id)
    assert api.sent == {"mode": "http", "name": "slot_1"}
    section = await configuration.get_section("backends", "slot_1", transaction.id)
    await configuration.commit(transaction.id)

    assert section == {"name": "slot_1", "mode": "http"}
    assert api.lines == [
        "POST /transactions?version=4",
        f"PUT {one}",
        "POST /configuration/backends?full_section=true&transaction_id=t1",
        f"GET {one}",
        "PUT /transactions/t1?force_reload=true",
    ]


async def test_a_section_that_is_there_is_replaced() -> None:
    api = Api()
    api.says("PUT /configuration/frontends/web", (202, "{}"))

    await api.client().configuration.put_section("frontends", "web", {}, "t1")

    assert len(api.requests) == 1


async def test_too_many_open_transactions_are_told() -> None:
    api = Api()
    api.says("POST /transactions", refused(429, "reached the maximum of open transactions"))

    with pytest.raises(TooManyTransactionsError):
        await api.client().configuration.begin(4)


async def test_a_transaction_that_was_committed_is_absent() -> None:
    api = Api()
    api.says("PUT /transactions/t1", refused(404, "transaction does not exist: transaction t1"))

    with pytest.raises(AbsentError):
        await api.client().configuration.commit("t1")


async def test_deleting_a_transaction_that_is_gone_is_fine() -> None:
    api = Api()
    api.says("DELETE /transactions/t1", refused(404, "transaction does not exist: transaction t1"))

    await api.client().configuration.delete_transaction("t1")


async def test_deleting_a_transaction_can_fail() -> None:
    api = Api()
    api.says("DELETE /transactions/t1", refused(500, "unlink /tx: permission denied"))

    with pytest.raises(DataPlaneError, match="permission denied"):
        await api.client().configuration.delete_transaction("t1")


async def test_reloads_are_read() -> None:
    api = Api()
    failed = '{"id":"2026-11-26-0","status":"failed","response":"[ALERT] x","reload_timestamp":1}'
    api.says("GET /reloads", (200, f"[{failed}]"))
    api.says("GET /reloads/2026-11-26-0", (200, failed))
    api.says(
        "GET /reloads/2026-11-26-9", refused(404, "Reload with ID 2026-11-26-9 does not exist")
    )
    configuration = api.client().configuration

    reload = await configuration.reload("2026-11-26-0")

    assert (reload.status, reload.response) == ("failed", "[ALERT] x")
    assert await configuration.reloads() == (reload,)
    with pytest.raises(AbsentError):
        await configuration.reload("2026-11-26-9")


async def test_an_answer_of_another_shape_is_an_error() -> None:
    api = Api()
    api.says("GET /configuration/version", (200, '"one"'))

    with pytest.raises(DataPlaneError, match="can't be read"):
        await api.client().configuration.version()
