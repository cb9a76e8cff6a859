"""The end of processes, ours by birth or adopted: noticing it, and bringing it about."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal


def alive(pid: int) -> bool:
    """Whether the process runs; reaps it if it was our child and doesn't."""
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        # Unlike signal 0, this tells a zombie that nobody reaps from a living process.
        return not select.select([descriptor], [], [], 0)[0]
    finally:
        os.close(descriptor)


async def exit_of(pid: int) -> None:
    """Wait until the process has ended (pidfd_open(2)), and reap it if it was our child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    try:
        loop.add_reader(descriptor, ended.set)
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    alive(pid)


async def end(pid: int, number: signal.Signals, timeout: float | None) -> bool:  # noqa: ASYNC109
    """Send a signal and wait; false if the process hasn't ended after `timeout` seconds."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    try:
        async with asyncio.timeout(timeout):
            await exit_of(pid)
    except TimeoutError:
        return False
    return True
