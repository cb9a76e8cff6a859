"""The sites that examples run on: one, until something goes wrong with it."""

from __future__ import annotations

import os
from pathlib import Path

from harness.choice import HAPROXY
from harness.parts import NativeParts
from harness.stack import Stack
from harness.versions import Exchange
from tests.stateful.site import Site


class Sites:
    """Gives each example a site: the same one, as long as nothing went wrong with it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._site: Site | None = None
        self._made = 0

    def site(self) -> Site:
        """A sound site; what an example failed on is kept until the next one begins."""
        if self._site is not None and not self._site.sound:
            self.close()
        if self._site is None:
            self._made += 1
            first = os.environ.get(HAPROXY) or None
            exchange = Exchange(self._directory / str(self._made), first)
            stack = Stack(https=True, parts=NativeParts(haproxy=exchange.program))
            stack.__enter__()
            try:
                self._site = Site(stack, exchange)
            except BaseException as error:
                stack.__exit__(type(error), error, error.__traceback__)
                raise
        return self._site

    def close(self) -> None:
        """End the site there is, if there is one."""
        site, self._site = self._site, None
        if site is not None:
            site.stack.__exit__(None, None, None)
