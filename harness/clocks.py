"""A clock that jumps: of programs that are started with it, by libfaketime."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from harness.errors import UnavailableError

# The one for programs with threads.
_LIBRARY = "faketime/libfaketimeMT.so.1"
_PLACES = ("/usr/lib", "/usr/local/lib")
# Debian builds HAProxy with jemalloc, which asks for the time before libfaketime can tell it, and
# waits for itself then. After these, `malloc` and `new` are found in them first.
_WITHOUT_JEMALLOC = ("libc.so.6", "libstdc++.so.6")


class Clock:
    """The wall clock of the programs that have `environ`; it is right until `jump`.

    Pauses and time-outs go on as before, as when somebody sets a machine's clock. Raises
    `UnavailableError` where libfaketime isn't installed.
    """

    def __init__(self, directory: Path) -> None:
        self._library = _library()
        self._file = directory / "clock"
        self.set_right()

    @property
    def environ(self) -> Mapping[str, str]:
        return {
            "LD_PRELOAD": ":".join([str(self._library), *_WITHOUT_JEMALLOC]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            # It reads the file again each second.
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def jump(self, by: timedelta) -> None:
        """Be wrong by so much, ahead or back, within a second."""
        self._file.write_text(f"{by.total_seconds():+.0f}\n")

    def set_right(self) -> None:
        """Be right again, within a second."""
        self._file.write_text("+0\n")


def _library() -> Path:
    for place in _PLACES:
        for path in sorted(Path(place).glob(f"*/{_LIBRARY}")):
            return path
    raise UnavailableError("libfaketime isn't installed (on Debian or Ubuntu: libfaketime)")
