"""The master's socket: reloads and their answers, processes, old workers."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from frontserver.errors import ProxyUnavailableError
from frontserver.haproxy.master import MasterClient, ReloadResult, parse_processes
from tests.unit.haproxy.fakes import INFO, master_socket

PROCESSES = """\
#<PID>          <type>          <reloads>       <uptime>        <version>
16023           master          1 [failed: 2]   1d02h03m04s     2.8.25-5cf5d0683
# workers
16029           worker          0               0d00h00m01s     2.8.25-5cf5d0683
# old workers
16025           worker          1               0d00h01m01s     2.8.25-5cf5d0683
# programs
17000           program         0               0d00h00m01s     -

"""


@pytest.fixture
def path(place: Path) -> Path:
    return place / "m.sock"


async def test_a_reload_says_whether_it_worked_and_why_not(path: Path) -> None:
    log = "[ALERT] (1) : config : parsing [x.cfg:3] : unknown keyword"
    async with master_socket(path, f"Success=0\n--\n{log}\n", "Success=1\n--\n") as asked:
        master = MasterClient(path)
        assert await master.reload() == ReloadResult(success=False, log=log)
        assert await master.reload() == ReloadResult(success=True, log="")
    assert asked == ["reload\n", "reload\n"]


async def test_a_reload_that_is_under_way_is_waited_for(path: Path) -> None:
    busy = "Success=0\n--\nAnother reload is still in progress.\n"
    async with master_socket(path, busy, busy, "Success=1\n--\n") as asked:
        assert (await MasterClient(path).reload()).success
    assert len(asked) == 3


async def test_a_reload_under_way_is_not_waited_for_forever(path: Path) -> None:
    async with master_socket(path, "Success=0\n--\nAnother reload is still in progress.\n"):
        with pytest.raises(ProxyUnavailableError, match="within"):
            await MasterClient(path).reload(timeout=0.05)


@pytest.mark.parametrize("answer", ["", "\n", None])
async def test_a_reload_without_an_answer_is_neither_success_nor_failure(
    path: Path, answer: str | None
) -> None:
    async with master_socket(path, answer) as asked:
        with pytest.raises(ProxyUnavailableError):
            await MasterClient(path).reload()
    assert len(asked) == 1


async def test_a_master_that_re_executes_itself_is_waited_for(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(path))
    # Its file stays behind and refuses, as the master's does for some milliseconds.
    with pytest.raises(ProxyUnavailableError, match="refused"):
        await MasterClient(path, patience=0).processes()
    waiting = asyncio.create_task(MasterClient(path).reload())
    async with master_socket(path, "Success=1\n--\n"):
        assert (await waiting).success


async def test_a_master_that_is_not_there_is_unavailable(path: Path) -> None:
    with pytest.raises(ProxyUnavailableError, match="No such file"):
        await MasterClient(path).processes()


async def test_a_master_that_stays_silent_is_given_up(path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        await done.wait()
        writer.close()

    done = asyncio.Event()
    async with await asyncio.start_unix_server(serve, path):
        with pytest.raises(ProxyUnavailableError, match="no answer within"):
            await MasterClient(path, timeout=0.05).processes()
        done.set()


async def test_the_current_worker_is_asked_through_the_master(path: Path) -> None:
    async with master_socket(path, INFO.format(version="2.8.25", pid=9, stopping=1)) as asked:
        current = await MasterClient(path).current_worker()
    assert (current.pid, current.stopping) == (9, True)
    assert asked == ["@1 show info\n"]


async def test_an_old_worker_is_addressed_by_its_pid(path: Path) -> None:
    async with master_socket(path, "0x1: proto=tcpv4\n\n") as asked:
        assert await MasterClient(path).command_old_worker(77, "show sess") == "0x1: proto=tcpv4"
    assert asked == ["@!77 show sess\n"]


def test_processes_are_told_apart() -> None:
    workers = parse_processes(PROCESSES)
    assert [(worker.pid, worker.kind) for worker in workers] == [
        (16023, "master"),
        (16029, "current"),
        (16025, "old"),
        (17000, "program"),
    ]
    assert (workers[0].reloads, workers[0].failed) == (1, 2)
    assert workers[0].uptime_s == ((26 * 60) + 3) * 60 + 4
    assert workers[1].version == "2.8.25-5cf5d0683"


def test_an_answer_without_a_master_is_an_error() -> None:
    with pytest.raises(ProxyUnavailableError, match="show proc"):
        parse_processes("\n")
