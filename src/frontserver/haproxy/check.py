"""`haproxy -c`: would HAProxy take this configuration?

It opens every file the configuration names, but binds nothing: a port that is taken, an address
that isn't ours and a missing chroot pass the check (see `ports`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from frontserver.errors import ConfigRejectedError
from frontserver.haproxy.binary import run

_ALERT = re.compile(r"\[ALERT\]\s+\(\d+\) : (?:config : )?(.*)")
_WHERE = re.compile(r"(?:parsing )?\[(?P<file>[^\]]+?):(?P<line>\d+)\]")
# Ends every refusal and adds nothing.
_SUMMARY = re.compile(r"(Fatal errors found|Error\(s\) found) in configuration")
_LONGEST_REASON = 2000


async def check(
    binary: Path,
    config: Path,
    files: Sequence[str] = (),
    *,
    timeout: float = 60.0,  # noqa: ASYNC109
) -> None:
    """Check a file, or a directory of `*.cfg` files; of a directory only `files`, if there are any.

    Raises `ConfigRejectedError` with HAProxy's reasons, and `ProxyError` if the check doesn't come
    to an end within `timeout` seconds or the program can't be run.
    """
    paths = [config / file for file in files] or [config]
    named: list[str | Path] = [word for path in paths for word in ("-f", path)]
    output, code = await run(binary, "-c", *named, seconds=timeout)
    if code != 0:
        raise rejection(output, code)


def rejection(output: str, code: int | None = None) -> ConfigRejectedError:
    """The error for what `haproxy -c`, or a refused reload's log, printed."""
    alerts = [match[1].strip() for match in _ALERT.finditer(output)]
    reasons = [alert for alert in alerts if not _SUMMARY.match(alert)] or alerts
    reason = "\n".join(dict.fromkeys(reasons)) or output.strip()
    if not reason:
        reason = f"haproxy -c ended with {code}" if code is not None else "no reason given"
    where = _WHERE.search(reason)
    return ConfigRejectedError(
        reason[:_LONGEST_REASON],
        file=where["file"] if where else None,
        line=int(where["line"]) if where else None,
    )
