"""Looks that are taken from time to time, whatever became of the one before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)


async def regularly(seconds: float, look: Callable[[], Awaitable[None]]) -> None:
    """Call `look` again and again, with a pause of `seconds` before each; never returns.

    An error is logged: it must not end the looks to come, nor anything beside them.
    """
    while True:
        await asyncio.sleep(seconds)
        try:
            await look()
        except Exception:
            logger.exception("a regular look failed")
