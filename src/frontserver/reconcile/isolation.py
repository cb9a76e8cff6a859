"""Finding the routes that HAProxy refuses among many that need a reload together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from frontserver.errors import ConfigRejectedError, TemplateError

K = TypeVar("K")

Load = Callable[[Sequence[K]], Awaitable[None]]


async def isolate(candidates: Sequence[K], load: Load[K]) -> dict[K, str]:
    """Load all candidates that can be loaded; returns the others with HAProxy's reason.

    `load` loads what runs plus the candidates it is given, and raises `ConfigRejectedError` or
    `TemplateError` when refused. If it is refused without any, nobody here is to blame: that
    error is raised. Halves, so that k culprits among n cost about k·log2(n) tries.
    """
    try:
        await load(candidates)
    except (ConfigRejectedError, TemplateError) as error:
        if not candidates:
            raise
        await load(())
        return await _search(candidates, load, error)
    return {}


async def _search(
    candidates: Sequence[K], load: Load[K], error: ConfigRejectedError | TemplateError
) -> dict[K, str]:
    """`candidates` together are refused for `error`; accepted ones stay loaded."""
    if len(candidates) == 1:
        reason = error.reason if isinstance(error, ConfigRejectedError) else str(error)
        return {candidates[0]: reason}
    middle = len(candidates) // 2
    refused: dict[K, str] = {}
    for half in (candidates[:middle], candidates[middle:]):
        try:
            await load(half)
        except (ConfigRejectedError, TemplateError) as half_error:
            refused |= await _search(half, load, half_error)
    return refused
