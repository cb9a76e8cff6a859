"""HAProxy as a process: it outlives us, comes back when it dies, and is never there twice."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from pathlib import Path

import pytest

from frontserver.errors import ConfigRejectedError, ProcessConflictError, ProxyUnavailableError
from frontserver.haproxy import procfs, spawn
from frontserver.haproxy.check import check
from frontserver.haproxy.exits import alive
from frontserver.haproxy.external import ExternalHaproxy
from frontserver.haproxy.master import MasterClient
from frontserver.haproxy.process import EmbeddedHaproxy
from frontserver.haproxy.runtime import RuntimeClient
from tests.unit.haproxy.conftest import Site
from tests.unit.haproxy.fakes import FakeRuntime
from tests.unit.haproxy.test_real_runtime import fetch, until

STARTER = """
import asyncio, sys
from pathlib import Path
from frontserver.haproxy.master import MasterClient
from frontserver.haproxy.process import EmbeddedHaproxy

async def main(program, directory, port):
    place = Path(directory)
    process = EmbeddedHaproxy(
        binary=Path(program), config_path=place / "haproxy.cfg", master_socket=place / "m.sock",
        runtime_socket=place / "rt.sock", run_dir=place / "run", binds=[("127.0.0.1", int(port))],
    )
    await process.ensure_running()
    print(process.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_it_outlives_a_killed_control_plane_and_is_adopted(site: Site) -> None:
    starter = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        STARTER,
        site.program,
        site.directory,
        str(site.port),
        stdout=asyncio.subprocess.PIPE,
    )
    assert starter.stdout is not None
    pid = int(await starter.stdout.readline())
    starter.kill()
    await starter.wait()
    assert await fetch(site.port, "x.example") == 418
    process = site.process()
    assert await process.adopt() == pid
    assert process.pid == pid
    # It is in a session of its own, where no terminal's signal reaches it.
    assert os.getsid(pid) == pid != os.getsid(0)


async def test_adopted_or_started_it_is_the_same_to_the_caller(site: Site) -> None:
    first, second = site.process(), site.process()
    await first.ensure_running()
    await second.ensure_running()
    assert second.pid == first.pid
    await first.close()
    await second.close()


async def test_nothing_runs_so_nothing_is_adopted(site: Site) -> None:
    (site.directory / "run" / "haproxy.pid").write_text(f"{os.getpid()}\n")
    process = site.process()
    assert await process.adopt() is None
    assert await process.stop() is False


async def test_stale_sockets_are_no_obstacle(site: Site) -> None:
    for path in (site.runtime, site.master):
        server = await asyncio.start_unix_server(lambda _r, w: w.close(), path)
        server.close()
        await server.wait_closed()
        assert path.is_socket()
    process = site.process()
    await process.start()
    assert await fetch(site.port, "x.example") == 418


def open_files(pid: int) -> dict[int, Path]:
    """By descriptor."""
    return {int(path.name): path.readlink() for path in Path(f"/proc/{pid}/fd").iterdir()}


async def test_none_of_our_files_are_inherited_but_the_lock(site: Site) -> None:
    process = site.process()
    secret, inheritable = (site.directory / name for name in ("secret", "inheritable"))
    with secret.open("w"), inheritable.open("w") as file:
        os.set_inheritable(file.fileno(), True)
        await process.start()
    assert process.pid is not None
    files = open_files(process.pid)
    assert site.directory / "run" / "haproxy.lock" in files.values()
    assert not {secret, inheritable} & set(files.values())
    assert files[0] == Path("/dev/null")


async def restarted(process: EmbeddedHaproxy, victim: int) -> int:
    """Kill `victim` and wait for the supervisor's word; the new master's PID."""
    again = asyncio.Event()
    process.on_change(again.set)
    os.kill(victim, signal.SIGKILL)
    async with asyncio.timeout(20):
        await again.wait()
    assert process.pid is not None
    return process.pid


async def test_a_killed_worker_brings_all_down_and_it_comes_back(site: Site) -> None:
    """Red list R10; whatever the files say by then is served."""
    prepared: list[int] = []

    async def prepare() -> None:
        prepared.append(len(prepared))
        await check(site.program, site.config)

    process = site.process()
    await process.ensure_running(prepare)
    before = process.pid
    runtime = RuntimeClient(site.runtime)
    worker = (await runtime.info()).pid
    site.write(451)
    assert await restarted(process, worker) != before
    assert await fetch(site.port, "x.example") == 451
    assert prepared == [0, 1]
    await process.close()
    await runtime.close()


async def test_a_killed_master_is_replaced_when_its_worker_has_gone(site: Site) -> None:
    process = site.process()
    await process.ensure_running()
    before = process.pid
    assert before is not None
    assert await restarted(process, before) != before
    assert await fetch(site.port, "x.example") == 418
    await process.close()


async def test_it_is_tried_again_until_it_starts(site: Site) -> None:
    failures: list[str] = []

    async def prepare() -> None:
        try:
            await check(site.program, site.config)
        except ConfigRejectedError as error:
            failures.append(error.reason)
            if len(failures) == 2:
                site.write(451)
            raise

    process = site.process()
    await process.ensure_running(prepare)
    assert process.pid is not None
    site.config.write_text("bogus\n")
    await restarted(process, process.pid)
    assert len(failures) == 2
    assert await fetch(site.port, "x.example") == 451
    await process.close()


async def test_a_second_one_on_the_same_port_is_refused(
    site: Site, running: EmbeddedHaproxy
) -> None:
    """Red list R9, from another state directory."""
    other = EmbeddedHaproxy(
        binary=site.program,
        config_path=site.config,
        master_socket=site.directory / "m2.sock",
        runtime_socket=site.directory / "rt2.sock",
        run_dir=site.directory / "run2",
        binds=[("127.0.0.1", site.port)],
    )
    with pytest.raises(ProcessConflictError, match=str(site.port)):
        await other.ensure_running()
    assert alive(running.pid or 0)


async def test_a_second_one_in_the_same_run_directory_is_refused(
    site: Site, running: EmbeddedHaproxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is inherited, so it holds although nobody but HAProxy is left to hold it."""
    monkeypatch.setattr("frontserver.haproxy.process._LEFTOVERS", 0.1)
    with pytest.raises(ProcessConflictError, match=f"PID .*{running.pid}"):
        await site.process().start()


async def test_the_lock_is_held_through_reloads(
    site: Site, running: EmbeddedHaproxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frontserver.haproxy.process._LEFTOVERS", 0.1)
    runtime = RuntimeClient(site.runtime)
    before = (await runtime.info()).pid
    os.kill(running.pid or 0, signal.SIGUSR2)

    async def reloaded() -> bool:
        try:
            return (await runtime.info()).pid != before
        except ProxyUnavailableError:
            return False

    await until(reloaded)
    with pytest.raises(ProcessConflictError, match="still uses"):
        await site.process().start()
    await runtime.close()


async def test_it_stops_at_once(site: Site) -> None:
    process = site.process()
    await process.ensure_running()
    pid = process.pid or 0
    assert await process.stop() is True
    assert not alive(pid)
    assert procfs.ours(site.master) == []
    assert not site.runtime.exists()
    assert not site.master.exists()


async def test_a_graceful_stop_lets_a_request_finish(site: Site) -> None:
    process = site.process()
    await process.ensure_running()
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x.example\r\n")
    await writer.drain()
    runtime = RuntimeClient(site.runtime)

    async def counted() -> bool:
        return (await runtime.info()).connections >= 1

    await until(counted)
    await runtime.close()
    stopping = asyncio.create_task(process.stop(graceful=True, timeout=None))

    async def refused() -> bool:
        try:
            await fetch(site.port, "x.example")
        except OSError:
            return True
        return False

    await until(refused)
    assert not stopping.done()
    writer.write(b"\r\n")
    assert b" 418 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert await stopping is True


async def test_how_many_files_it_may_open_is_known_of_a_haproxy_alone(site: Site) -> None:
    process = site.process()
    await process.ensure_running()
    assert process.pid is not None
    assert procfs.most_files(process.pid) == resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert procfs.most_files(os.getpid()) is None


async def test_a_graceful_stop_that_takes_too_long_is_cut_short(site: Site) -> None:
    process = site.process()
    await process.ensure_running()
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(b"GET / HTTP/1.1\r\n")
    await writer.drain()
    assert await process.stop(graceful=True, timeout=0.1) is True
    assert procfs.ours(site.master) == []
    writer.close()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1 << 20)


async def test_one_that_finishes_its_last_connections_is_not_adopted(
    site: Site, running: EmbeddedHaproxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frontserver.haproxy.process._LEFTOVERS", 0.5)
    _, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(b"GET / HTTP/1.1\r\n")
    await writer.drain()
    runtime = RuntimeClient(site.runtime)

    async def counted() -> bool:
        return (await runtime.info()).connections >= 1

    await until(counted)
    await runtime.close()
    os.kill(running.pid or 0, signal.SIGUSR1)

    async def leaves() -> bool:
        return (await MasterClient(site.master).current_worker()).stopping

    await until(leaves)
    with pytest.raises(ProcessConflictError, match="finishes its last connections"):
        await site.process().adopt()
    writer.close()


async def test_one_without_a_runtime_socket_is_adopted(
    site: Site, running: EmbeddedHaproxy
) -> None:
    """Red list R8."""
    site.runtime.unlink()
    assert await site.process().adopt() == running.pid


async def test_a_start_that_fails_says_what_haproxy_said(site: Site) -> None:
    site.config.write_text(site.config.read_text() + "  bogus keyword\n")
    with pytest.raises(ProxyUnavailableError, match="bogus"):
        await site.process().start()
    assert procfs.ours(site.master) == []


async def test_one_that_never_answers_is_given_up(site: Site) -> None:
    process = EmbeddedHaproxy(
        binary=site.program,
        config_path=site.config,
        master_socket=site.master,
        runtime_socket=site.directory / "elsewhere.sock",
        run_dir=site.directory / "run",
        ready_within=0.2,
    )
    with pytest.raises(ProxyUnavailableError, match="gave no answer within"):
        await process.start()


def test_a_long_log_makes_room(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawn, "_LOG_LIMIT", 10)
    log = place / "haproxy.log"
    assert spawn.rotate(log) == 0
    log.write_text("short")
    assert spawn.rotate(log) == 5
    log.write_text("rather long")
    assert spawn.rotate(log) == 0
    assert (place / "haproxy.log.1").read_text() == "rather long"
    assert spawn.tail(log, 0) == ""


async def test_an_external_one_is_watched_but_never_touched(place: Path) -> None:
    async with FakeRuntime().on(place / "rt.sock") as worker:
        process = ExternalHaproxy(runtime_socket=place / "rt.sock", every=0.01)
        changed = asyncio.Event()
        process.on_change(changed.set)
        await process.ensure_running()
        assert process.pid == worker.pid
        assert not changed.is_set()
        worker.pid += 1
        async with asyncio.timeout(10):
            await changed.wait()
        assert process.pid == worker.pid
        await process.close()


async def test_an_external_one_that_is_not_there_is_waited_for(place: Path) -> None:
    process = ExternalHaproxy(runtime_socket=place / "rt.sock", every=0.01)
    changed = asyncio.Event()
    process.on_change(changed.set)
    with pytest.raises(ProxyUnavailableError):
        await process.ensure_running()
    async with FakeRuntime().on(place / "rt.sock") as worker, asyncio.timeout(10):
        await changed.wait()
        assert process.pid == worker.pid
    await process.close()
