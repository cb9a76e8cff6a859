"""Finding the routes that HAProxy refuses among many that need a reload together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from frontserver.errors import ConfigRejectedError, TemplateError

K = TypeVar("K")

Try = Callable[[Sequence[K]], Awaitable[None]]


async def isolate(
    candidates: Sequence[K], attempt: Try[K], error: ConfigRejectedError | TemplateError
) -> dict[K, str]:
    """Which candidates can't be loaded together with the others, each with HAProxy's reason.

    All together were refused for `error`. `attempt` tries what runs plus the candidates it is
    given, and raises likewise when refused. If it is refused without any, nobody here is to
    blame: that error is raised. Halves, so that k culprits among n cost about k·log2(n) tries.
    The last attempt that wasn't refused held all candidates but those returned.
    """
    await attempt(())
    return await _search(candidates, [], attempt, error)


async def _search(
    candidates: Sequence[K],
    accepted: list[K],
    attempt: Try[K],
    error: ConfigRejectedError | TemplateError,
) -> dict[K, str]:
    """`candidates` beside `accepted` are refused for `error`; adds to `accepted` what isn't."""
    if len(candidates) == 1:
        reason = error.reason if isinstance(error, ConfigRejectedError) else str(error)
        return {candidates[0]: reason}
    middle = len(candidates) // 2
    refused: dict[K, str] = {}
    for half in (candidates[:middle], candidates[middle:]):
        try:
            await attempt([*accepted, *half])
        except (ConfigRejectedError, TemplateError) as half_error:
            refused |= await _search(half, accepted, attempt, half_error)
        else:
            accepted += half
    return refused
