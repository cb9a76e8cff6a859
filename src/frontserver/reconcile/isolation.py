"""Finding the routes that HAProxy refuses among many that need a reload together."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from frontserver.errors import ConfigRejectedError, TemplateError

logger = logging.getLogger(__name__)

K = TypeVar("K")

Try = Callable[[Sequence[K]], Awaitable[None]]


# Once so many were found one by one, those that are refused together are all refused: HAProxy may
# be short of something, and a search to the end would take thousands of tries.
MOST_FOUND = 16


async def isolate(
    candidates: Sequence[K], attempt: Try[K], error: ConfigRejectedError | TemplateError
) -> dict[K, str]:
    """Which candidates can't be loaded together with the others, each with HAProxy's reason.

    All together were refused for `error`. `attempt` tries what runs plus the candidates it is
    given, and raises likewise when refused. If it is refused without any, nobody here is to
    blame: that error is raised. Halves, so that k culprits among n cost about k·log2(n) tries.
    With more than `MOST_FOUND`, some of those returned may be fine; which ones is chance, so that
    each gets its turn if what was refused is tried again.
    The last attempt that wasn't refused held all candidates but those returned.
    """
    logger.warning("%s; looking for its cause among %s routes", error, len(candidates))
    await attempt(())
    refused: dict[K, str] = {}
    shuffled = random.sample(candidates, len(candidates))
    await _search(shuffled, [], refused, attempt, error)
    return refused


async def _search(
    candidates: Sequence[K],
    accepted: list[K],
    refused: dict[K, str],
    attempt: Try[K],
    error: ConfigRejectedError | TemplateError,
) -> None:
    """`candidates` beside `accepted` are refused for `error`; adds each to one of the two."""
    if len(candidates) == 1 or len(refused) >= MOST_FOUND:
        reason = error.reason if isinstance(error, ConfigRejectedError) else str(error)
        refused.update(dict.fromkeys(candidates, reason))
        return
    middle = len(candidates) // 2
    for half in (candidates[:middle], candidates[middle:]):
        try:
            await attempt([*accepted, *half])
        except (ConfigRejectedError, TemplateError) as half_error:
            await _search(half, accepted, refused, attempt, half_error)
        else:
            accepted += half
