"""CA bundles of routes leave the Data Plane API's storage once nothing needs them any more."""

from __future__ import annotations

import logging
import time

from frontserver.backends.dataplane.files import Files, bundles
from frontserver.errors import FrontServerError
from frontserver.planning.compiled import CompiledConfig

logger = logging.getLogger(__name__)

# Seconds between two looks.
_SECONDS = 600.0


class Bundles:
    """Keeps those of the configuration that HAProxy has loaded, which the API may put back."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._loaded: frozenset[str] | None = None
        self._due = 0.0

    async def begin(self) -> None:
        """Before we have loaded anything, all that there are may be loaded; raises as `Files`."""
        if self._loaded is None:
            self._loaded = await self._files.stored_bundles()

    async def loaded(self, config: CompiledConfig) -> None:
        """HAProxy has loaded this; delete all others."""
        self._loaded, self._due = frozenset(bundles(config)), 0.0
        await self.tidy()

    async def tidy(self, *configs: CompiledConfig) -> None:
        """Now and then, delete what neither these know nor what is loaded; raises nothing."""
        now = time.monotonic()
        if self._loaded is None or now < self._due:
            return
        self._due = now + _SECONDS
        try:
            await self._files.drop_bundles(self._loaded.union(*map(bundles, configs)))
        except FrontServerError as error:
            logger.warning("CA bundles that nobody needs stay: %s", error)
