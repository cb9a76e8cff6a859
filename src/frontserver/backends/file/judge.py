"""Whether a configuration on disk may be loaded: HAProxy's own check, our guards, the canary."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

from frontserver.backends.file.generations import Generations, Manifest
from frontserver.backends.port import State
from frontserver.errors import ConfigRejectedError, ProxyError
from frontserver.haproxy.canary import Canary, Verdict
from frontserver.planning.compiled import Profile
from frontserver.rendering.invariants import check_reloadable
from frontserver.rendering.render import FRONTENDS, GLOBAL, PROFILES

logger = logging.getLogger(__name__)

Check = Callable[[Path], Awaitable[None]]


class Judge:
    """Refuses what HAProxy refuses, and what would end it later.

    `tried` is told of each profile that a throwaway HAProxy was given, and whether it passed.
    """

    def __init__(
        self,
        generations: Generations,
        check: Check,
        canary: Canary | None = None,
        tried: Callable[[Verdict], None] = lambda _: None,
    ) -> None:
        self.dynamic = False
        self._generations = generations
        self._check = check
        self._canary = canary
        self._tried = tried
        self._base = ""
        self._verdicts: dict[str, Verdict] = {}

    @property
    def growing(self) -> frozenset[str]:
        """The profiles that are known to work with backends made at run time."""
        return frozenset(i for i, verdict in self._verdicts.items() if verdict.dynamic_ok)

    async def require(self, generation: Path, state: State, running: Path | None) -> None:
        """Raise `ConfigRejectedError` unless `generation` may be loaded in place of `running`."""
        frame = await asyncio.to_thread(self._frame, generation)
        if running is not None:
            check_reloadable(await asyncio.to_thread(self._frame, running), frame)
        fingerprint = state.config.frontends.fingerprint
        profiles = [pool.profile for pool in state.layout.pools.values()]
        tasks = {
            asyncio.ensure_future(self._check(generation)),
            asyncio.ensure_future(self._try(frame, fingerprint, profiles)),
        }
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def accepts(self, generation: Path) -> None:
        """HAProxy's own check alone; raises `ConfigRejectedError`."""
        await self._check(generation)

    async def learn(self, generation: Path, manifest: Manifest) -> None:
        """Find out which of the profiles that run can grow by backends made at run time."""
        frame = await asyncio.to_thread(self._frame, generation)
        try:
            await self._try(frame, manifest.frontends, [profile for profile, _ in manifest.pools])
        except ConfigRejectedError as error:
            logger.warning("%s", error)

    async def _try(
        self, frame: Mapping[str, str], fingerprint: str, profiles: Iterable[Profile]
    ) -> None:
        """Raise `ConfigRejectedError` if a profile ends the throwaway HAProxy it is given to."""
        if self._canary is None:
            return
        if fingerprint != self._base:
            # Every profile stands on it, templates included.
            self._base = fingerprint
            self._verdicts.clear()
        unknown = [profile for profile in profiles if not self._knows(profile)]
        if not unknown:
            return
        try:
            found = await self._canary.try_profiles(frame, unknown, dynamic=self.dynamic)
        except ConfigRejectedError:
            raise
        except ProxyError as error:
            logger.warning("no profile can be tried here: %s", error)
            return
        for verdict in found.values():
            self._tried(verdict)
        self._verdicts |= {i: verdict for i, verdict in found.items() if verdict.ok}
        refused = {i: verdict for i, verdict in found.items() if not verdict.ok}
        for profile_id, verdict in refused.items():
            raise ConfigRejectedError(
                f"a throwaway HAProxy with profile {profile_id} failed: {verdict.reason}"
            )

    def _knows(self, profile: Profile) -> bool:
        verdict = self._verdicts.get(profile.id)
        return verdict is not None and (verdict.dynamic_ok is not None or not self.dynamic)

    def _frame(self, generation: Path) -> dict[str, str]:
        return self._generations.read(generation, GLOBAL, FRONTENDS, PROFILES)
