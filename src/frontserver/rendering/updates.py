"""Templates that change while HAProxy runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from frontserver.errors import FrontServerError
from frontserver.planning.compiled import CompiledConfig, Profile
from frontserver.planning.layout import Layout, PoolPolicy
from frontserver.rendering.invariants import check_invariants
from frontserver.rendering.render import Renderer
from frontserver.rendering.templates import Templates

logger = logging.getLogger(__name__)


def rehearsed(renderer: Renderer, frame: CompiledConfig, policy: PoolPolicy) -> dict[str, str]:
    """The files of a HAProxy without routes, but with every profile of the operator's.

    `frame` holds no routes. Raises `TemplateError`, and `ConfigRejectedError` for what must not be
    loaded.
    """
    extended = {Profile(mode="http", extension=each): 1 for each in frame.frontends.extensions}
    files = renderer.everything(frame, Layout().reloaded(extended, policy), generation="000000")
    renderer.adopted(frame.frontends)
    check_invariants(files, listens=not frame.frontends.adopts)
    return files


class TemplateUpdates:
    """Takes up changed templates once they are known to be good; broken ones change nothing.

    `read` gets them anew, `rehearse` raises if the second can't follow the first, `use` makes them
    the ones to load next. `warn` is told what is wrong with those on disk, `None` when nothing is.
    """

    def __init__(
        self,
        current: Templates,
        *,
        read: Callable[[], Templates],
        rehearse: Callable[[Templates, Templates], Awaitable[None]],
        use: Callable[[Templates], None],
        warn: Callable[[str | None], None],
    ) -> None:
        self._current = current
        self._read = read
        self._rehearse = rehearse
        self._use = use
        self._warn = warn

    async def follow(self, asked: asyncio.Event) -> None:
        """Look at the templates whenever it is asked for; never returns."""
        while True:
            await asked.wait()
            asked.clear()
            await self.take_up()

    async def take_up(self) -> None:
        """Look at the templates on disk now. Raises nothing: the log and `warn` say what failed."""
        try:
            await self._try()
        except FrontServerError as error:
            logger.error("the changed templates aren't used: %s", error)
            self._warn(f"the changed templates aren't used: {error}")
        except Exception:
            logger.exception("the changed templates aren't used")
            self._warn("the changed templates aren't used: internal error; see the log")
        else:
            self._warn(None)

    async def _try(self) -> None:
        templates = await asyncio.to_thread(self._read)
        if templates.fingerprint() == self._current.fingerprint():
            logger.info("the templates are what they were")
            return
        await self._rehearse(self._current, templates)
        self._use(templates)
        self._current = templates
        logger.info("the templates have changed, and are taken up")
