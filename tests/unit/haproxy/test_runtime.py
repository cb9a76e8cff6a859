"""The conversation with a worker, over sockets that answer as recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from frontserver.errors import CommandRefusedError, ProxyError, ProxyUnavailableError
from frontserver.haproxy import runtime
from frontserver.haproxy.runtime import RuntimeClient
from tests.unit.haproxy.fakes import FakeRuntime, master_socket


@pytest.fixture(params=["2.8", "3.2"])
async def worker(request: pytest.FixtureRequest, place: Path) -> AsyncIterator[FakeRuntime]:
    async with FakeRuntime(request.param).on(place / "rt.sock") as fake:
        yield fake


@pytest.fixture
async def client(place: Path) -> AsyncIterator[RuntimeClient]:
    client = RuntimeClient(place / "rt.sock", timeout=5)
    yield client
    await client.close()


async def test_each_answer_goes_to_its_command(worker: FakeRuntime, client: RuntimeClient) -> None:
    worker.answers = {"show a": "one\n", "show b": "\ntwo\n\nthree\n", "show d": "+ four\n"}
    answers = await client.run(["show a", "add map /m k v", "show b", "show c", "show d"])
    assert answers == ["one", "", "two\n\nthree", "", "+ four"]


async def test_a_payload_is_passed_and_its_prompts_are_not_the_answer(
    worker: FakeRuntime, client: RuntimeClient
) -> None:
    worker.answers = {"set ssl cert a.pem": "Transaction created for certificate a.pem!\n"}
    answers = await client.run(
        [("add map /m", "k1 v1\nk2 v2; x"), ("set ssl cert a.pem", "PEM"), "show x"]
    )
    assert answers == ["", "Transaction created for certificate a.pem!", ""]
    assert worker.received == [
        ("add map /m", "k1 v1\nk2 v2; x"),
        ("set ssl cert a.pem", "PEM"),
        ("show x", ""),
    ]


async def test_the_connection_is_kept(worker: FakeRuntime, client: RuntimeClient) -> None:
    for _ in range(3):
        await client.run(["show a"])
    assert worker.connections == 1


async def test_thousands_of_commands_keep_their_order(
    worker: FakeRuntime, client: RuntimeClient
) -> None:
    worker.answers = {f"show {n}": f"{n}\n" * 20 for n in range(2000)}
    answers = await client.run([f"show {n}" for n in range(2000)])
    assert [answer.split("\n")[-1] for answer in answers] == [str(n) for n in range(2000)]


async def test_callers_take_turns(worker: FakeRuntime, client: RuntimeClient) -> None:
    worker.answers = {f"show {n}": f"{n}\n" for n in range(20)}
    answers = await asyncio.gather(*(client.run([f"show {n}"]) for n in range(20)))
    assert answers == [[str(n)] for n in range(20)]


async def test_nothing_is_sent_if_one_command_may_not_be(
    worker: FakeRuntime, client: RuntimeClient
) -> None:
    with pytest.raises(CommandRefusedError):
        await client.run(["add map /m a b", "show info;quit"])
    assert worker.received == []


async def test_no_commands_need_no_haproxy(client: RuntimeClient) -> None:
    assert await client.run([]) == []


async def test_what_is_too_big_for_its_buffer_is_not_sent(
    worker: FakeRuntime, client: RuntimeClient
) -> None:
    with pytest.raises(CommandRefusedError, match="15000"):
        await client.run([("add map /m", "k " + "v" * 15_000)])
    assert worker.received == []


async def test_an_idle_connection_that_was_closed_is_replaced(
    worker: FakeRuntime, client: RuntimeClient
) -> None:
    await client.run(["show a"])
    await worker.hang_up()
    assert await client.run(["add map /m a b"]) == [""]
    assert worker.connections == 2
    assert worker.received.count(("add map /m a b", "")) == 1


async def test_a_command_without_an_answer_is_never_sent_again(
    worker: FakeRuntime, client: RuntimeClient
) -> None:
    worker.before_answer = lambda line: line != "add map /m a b"
    with pytest.raises(ProxyUnavailableError, match="closed"):
        await client.run(["show a", "add map /m a b", "show b"])
    worker.before_answer = lambda _: True
    assert await client.run(["show c"]) == [""]
    assert worker.received == [("show a", ""), ("show c", "")]


async def test_silence_is_an_error_and_ends_the_conversation(
    worker: FakeRuntime, place: Path
) -> None:
    client = RuntimeClient(place / "rt.sock", timeout=0.1)
    await client.run(["show a"])
    worker.release.clear()
    with pytest.raises(ProxyUnavailableError, match="didn't answer"):
        await client.run(["show slow"])
    worker.release.set()
    worker.answers = {"show slow": "late\n", "show b": "b\n"}
    assert await client.run(["show b"]) == ["b"]
    await client.close()


async def test_a_cancelled_call_leaves_no_answer_behind(
    worker: FakeRuntime, client: RuntimeClient
) -> None:
    worker.answers = {"show a": "a\n", "show b": "b\n"}
    await client.run(["show b"])
    worker.release.clear()
    task = asyncio.create_task(client.run(["show a"]))
    while "show a" not in worker.arrived:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    worker.release.set()
    assert await client.run(["show b"]) == ["b"]


async def test_an_answer_that_holds_a_prompt_is_noticed(
    worker: FakeRuntime, client: RuntimeClient
) -> None:
    worker.answers = {"show a": "x\n> y\n"}
    with pytest.raises(ProxyUnavailableError, match="told apart"):
        await client.run(["show a", "show b"])


async def test_no_worker_but_one_that_leaves_is_an_error(
    worker: FakeRuntime, client: RuntimeClient
) -> None:
    await client.run(["show a"])
    worker.stopping = True
    with pytest.raises(ProxyUnavailableError, match="replaced"):
        await client.run(["add map /m a b"])


def replace(worker: FakeRuntime) -> None:
    """From the next line on, whoever is connected first speaks to a worker that leaves."""

    def leaves(_: str) -> bool:
        worker.stopping = worker.connections == 1
        return True

    worker.before_answer = leaves


async def test_a_question_that_reached_a_replaced_worker_is_asked_again(
    worker: FakeRuntime, client: RuntimeClient
) -> None:
    worker.answers = {"show a": "a\n"}
    await client.run(["show a"])
    replace(worker)
    assert await client.run(["show a", "get map /m k"]) == ["a", ""]
    assert worker.connections == 2


async def test_after_a_pause_a_replaced_worker_is_told_nothing(
    worker: FakeRuntime, client: RuntimeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Visitors that are still connected to it would feel it."""
    monkeypatch.setattr(runtime, "_FRESH", 0)
    await client.run(["show a"])
    replace(worker)
    assert await client.run(["add map /m c d"]) == [""]
    assert worker.connections == 2
    assert worker.received == [("show a", ""), ("add map /m c d", "")]


async def test_a_change_that_a_replaced_worker_took_is_made_on_the_new_one(
    worker: FakeRuntime, client: RuntimeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_FRESH", 60)
    await client.run(["show a"])
    replace(worker)
    assert await client.run(["add map /m c d"]) == [""]
    assert worker.connections == 2
    assert [line for line, _ in worker.received].count("add map /m c d") == 2


async def test_a_worker_that_dies_in_the_middle_is_an_error(
    worker: FakeRuntime, client: RuntimeClient
) -> None:
    worker.before_answer = lambda line: not line.startswith("show")
    with pytest.raises(ProxyUnavailableError):
        await client.run(["show a"])


async def test_a_large_payload_fits_3_4(place: Path) -> None:
    payload = "\n".join(f"h{n}.example {'x' * 100}" for n in range(1000))
    async with FakeRuntime("3.4").on(place / "rt.sock") as worker:
        client = RuntimeClient(place / "rt.sock", timeout=5)
        assert await client.run(["show a", ("add map /m", payload), "show b"]) == ["", "", ""]
        assert worker.received[1] == ("add map /m", payload)
        await client.close()


async def test_another_process_on_the_same_conversation_is_an_error(
    worker: FakeRuntime, client: RuntimeClient
) -> None:
    await client.run(["show a"])
    worker.pid += 1
    with pytest.raises(ProxyUnavailableError):
        await client.run(["show b"])


async def test_no_socket_is_unavailable(client: RuntimeClient) -> None:
    with pytest.raises(ProxyUnavailableError, match="No such file"):
        await client.info()


async def test_an_old_haproxy_is_refused(worker: FakeRuntime, client: RuntimeClient) -> None:
    worker.version = "2.6.12-1"
    with pytest.raises(ProxyError, match="too old"):
        await client.info()


async def test_the_version_says_what_it_can(worker: FakeRuntime, client: RuntimeClient) -> None:
    worker.answers = {"show version": worker.version}
    assert (await client.capabilities()).wait is (worker.dialect == "3.2")


async def test_the_master_is_asked_when_the_runtime_socket_refuses(place: Path) -> None:
    client = RuntimeClient(place / "gone.sock", master=place / "m.sock")
    async with master_socket(place / "m.sock", "New server registered.\n\n", "\n") as asked:
        answers = await client.run(["add server b/s 127.0.0.1:1", ("add map /m", "a b\nc d")])
    assert answers == ["New server registered.", ""]
    assert asked == ["@1 add server b/s 127.0.0.1:1\n", "@1 add map /m <<\na b\nc d\n\n"]


async def test_the_master_is_not_asked_when_the_worker_only_hangs(
    worker: FakeRuntime, place: Path
) -> None:
    worker.release.clear()
    client = RuntimeClient(place / "rt.sock", master=place / "m.sock", timeout=0.1)
    async with master_socket(place / "m.sock", "\n") as asked:
        with pytest.raises(ProxyUnavailableError):
            await client.run(["show a"])
    assert asked == []


async def test_a_read_that_is_refused_says_so(worker: FakeRuntime, client: RuntimeClient) -> None:
    worker.answers = {
        "show map /no": "Unknown map identifier. Please use #<id> or <file>.\n",
        "get map /m a\\;b": 'type=str, case=sensitive, found=yes, idx=tree, key="a;b", value="v", '
        'type="str"\n',
    }
    with pytest.raises(CommandRefusedError, match="Unknown map"):
        await client.map_entries("/no")
    assert await client.map_value("/m", "a;b") == "v"
