"""Throwaway processes: ended and cleared away whatever happens."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from frontserver.errors import ConfigRejectedError, ProxyError, ProxyUnavailableError
from frontserver.haproxy import exits, procfs
from frontserver.haproxy.excerpt import excerpt
from frontserver.haproxy.throwaway import sweep, throwaway
from tests.unit.haproxy.trying import texts

CUT = excerpt(texts([]), frozenset(), slots=0)
PREFIX = "frontserver-throwaway-"


def directories() -> set[Path]:
    """Those of this process."""
    return set(Path(tempfile.gettempdir()).glob(f"{PREFIX}{os.getpid()}-*"))


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    assert directories() == set()


async def test_it_answers_and_is_gone_afterwards(program: Path) -> None:
    async with throwaway(program, CUT.text, {"maps/a.map": "a b\n"}) as one:
        assert (await one.runtime.info()).pid == one.pid
        assert (one.directory / "maps" / "a.map").read_text() == "a b\n"
        assert one.directory.stat().st_mode & 0o777 == 0o700
        assert procfs.local_peer(one.directory.name) == [one.pid]
    assert not exits.alive(one.pid)


async def test_it_is_gone_when_its_user_fails_or_is_cancelled(program: Path) -> None:
    pids = []

    async def use(*, fails: bool) -> None:
        async with throwaway(program, CUT.text, {}) as one:
            pids.append(one.pid)
            if fails:
                raise ValueError("no reason")
            started.set()
            await asyncio.Event().wait()

    started = asyncio.Event()
    with pytest.raises(ValueError, match="no reason"):
        await use(fails=True)
    task = asyncio.create_task(use(fails=False))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [exits.alive(pid) for pid in pids] == [False, False]


async def test_its_end_is_told_with_signal_and_last_words(program: Path) -> None:
    async with throwaway(program, CUT.text, {}) as one:
        os.kill(one.pid, signal.SIGSEGV)
        assert "HAProxy ended with SIGSEGV" in (await one.obituary() or "")
        with pytest.raises(ProxyUnavailableError):
            await one.runtime.info()


async def test_a_refused_configuration_is_told_with_its_reason(program: Path) -> None:
    with pytest.raises(ConfigRejectedError, match="unknown keyword 'nonsense'"):
        async with throwaway(program, lambda at: CUT.text(at) + "nonsense\n", {}):
            pass


async def test_a_program_that_cannot_be_run_is_an_error(place: Path) -> None:
    with pytest.raises(ProxyError, match="can't be run"):
        async with throwaway(place / "none", CUT.text, {}):
            pass


LEAVE_ONE = """
import asyncio, os, signal, sys
from pathlib import Path
from frontserver.haproxy.throwaway import throwaway

async def leave():
    text = "global\\n  stats socket unix@{}/rt.sock level admin\\n"
    async with throwaway(Path(sys.argv[1]), text.format, {}) as one:
        print(one.pid, one.directory, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(leave())
"""


async def test_what_a_killed_control_plane_left_is_swept_and_nothing_else(program: Path) -> None:
    killed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LEAVE_ONE, program),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    output, _ = await killed.communicate()
    pid, directory = output.decode().split()
    assert killed.returncode == -signal.SIGKILL
    try:
        assert exits.alive(int(pid))
        async with throwaway(program, CUT.text, {}) as one:
            await asyncio.to_thread(sweep)
            assert (await one.runtime.info()).pid == one.pid
        async with asyncio.timeout(5):
            await exits.exit_of(int(pid))
        assert not await asyncio.to_thread(Path(directory).exists)
    finally:
        if exits.alive(int(pid)):
            os.kill(int(pid), signal.SIGKILL)
