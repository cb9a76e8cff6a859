"""What is worth measuring of HAProxy's upkeep, for whoever counts it.

Only events are told here; what holds at a moment is in `frontserver.model.status.ProxyStatus`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Measurements(Protocol):
    """Told of events as they end. All durations are in seconds; nothing raises or blocks."""

    def reloaded(self, reasons: Iterable[str], seconds: float) -> None:
        """A reload succeeded, `seconds` after it began. It counts for each of its reasons."""
        ...

    def reload_failed(self, reasons: Iterable[str], seconds: float) -> None:
        """A reload was refused, or never came to an end."""
        ...

    def applied(self, routes: int, seconds: float) -> None:
        """The changes of so many routes were made and read back, without a reload."""
        ...

    def flushed(self, seconds: float, written: int) -> None:
        """`written` bytes went to disk, `seconds` after the oldest change among them was made."""
        ...

    def judged(self, verdict: str, seconds: float) -> None:
        """A canary ended with this verdict: a word from a small set, such as `passed`."""
        ...


class Unmeasured:
    """Nobody counts."""

    def reloaded(self, reasons: Iterable[str], seconds: float) -> None:
        pass

    def reload_failed(self, reasons: Iterable[str], seconds: float) -> None:
        pass

    def applied(self, routes: int, seconds: float) -> None:
        pass

    def flushed(self, seconds: float, written: int) -> None:
        pass

    def judged(self, verdict: str, seconds: float) -> None:
        pass
