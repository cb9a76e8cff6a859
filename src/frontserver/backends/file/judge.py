"""Whether a configuration on disk may be loaded: HAProxy's own check, our guards, the canary."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

from frontserver.backends.file.generations import Generations
from frontserver.backends.manifest import Manifest
from frontserver.backends.port import State
from frontserver.errors import ConfigRejectedError, FrontServerError, ProxyError
from frontserver.haproxy.canary import Canary, Verdict
from frontserver.model.measurements import Measurements, Unmeasured
from frontserver.planning.compiled import Profile
from frontserver.rendering.invariants import check_reloadable
from frontserver.rendering.render import FRAME
from frontserver.rendering.shards import shard_at, shard_name

logger = logging.getLogger(__name__)

# Of a directory, and of which files in it; of all without any.
Check = Callable[[Path, Sequence[str]], Awaitable[None]]


class Judge:
    """Refuses what HAProxy refuses, and what would end it later."""

    def __init__(
        self,
        generations: Generations,
        check: Check,
        canary: Canary | None = None,
        measurements: Measurements | None = None,
    ) -> None:
        self.dynamic = False
        self._generations = generations
        self._check = check
        self._canary = canary
        self._measurements = measurements or Unmeasured()
        # By the frontends (templates included) that a profile stands on, and its id.
        self._verdicts: dict[tuple[str, str], Verdict] = {}
        self._running = ""
        # The profiles, of those that run, that work with backends made at run time.
        self.growing: frozenset[str] = frozenset()

    def loaded(self, frontends: str) -> None:
        """HAProxy runs these frontends (a fingerprint)."""
        self._running = frontends
        self._verdicts = {key: v for key, v in self._verdicts.items() if key[0] == frontends}
        self.growing = frozenset(i for (_, i), v in self._verdicts.items() if v.dynamic_ok)

    async def require(
        self,
        generation: Path,
        state: State,
        running: Path | None,
        fresh: Sequence[str] = (),
    ) -> None:
        """Raise `ConfigRejectedError` unless `generation` may be loaded in place of `running`.

        Where only the `fresh` files are others than those of `running`, HAProxy checks these alone:
        what it runs needn't be read again, and takes most of the time.
        """
        if running is not None:
            before = await asyncio.to_thread(self._frame, running)
            check_reloadable(before, await asyncio.to_thread(self._frame, generation))
        fingerprint = state.config.frontends.fingerprint
        profiles = [pool.profile for pool in state.layout.pools.values()]
        tasks = {
            asyncio.ensure_future(self._check(generation, fresh)),
            asyncio.ensure_future(self._try(generation, fingerprint, profiles, running)),
        }
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def require_or_discard(
        self,
        generation: Path,
        state: State,
        running: Path | None,
        fresh: Sequence[str] = (),
    ) -> None:
        """As `require`; one that doesn't pass is removed from disk."""
        try:
            await self.require(generation, state, running, fresh)
        except BaseException:
            await asyncio.to_thread(self._generations.discard, generation)
            raise

    async def accepts(self, generation: Path) -> None:
        """HAProxy's own check alone; raises `ConfigRejectedError`."""
        await self._check(generation, ())

    async def learn(self, generation: Path, manifest: Manifest) -> None:
        """Find out which of the profiles that run can grow by backends made at run time."""
        profiles = [profile for profile, _ in manifest.pools]
        try:
            await self._try(generation, manifest.frontends, profiles, generation)
        except FrontServerError as error:
            logger.warning("%s", error)
        self.loaded(manifest.frontends)

    async def _try(
        self,
        generation: Path,
        frontends: str,
        profiles: Iterable[Profile],
        running: Path | None,
    ) -> None:
        """Raise `ConfigRejectedError` if a profile ends the throwaway HAProxy it is given to.

        One that runs already is no reason to refuse the others a reload.
        """
        if self._canary is None:
            return
        unknown = [profile for profile in profiles if not self._knows(frontends, profile)]
        if not unknown:
            return
        ids = (profile.id for profile in unknown)
        texts = await asyncio.to_thread(self._frame, generation, *ids)
        began = time.monotonic()
        try:
            found = await self._canary.try_profiles(texts, unknown, dynamic=self.dynamic)
        except ConfigRejectedError:
            raise
        except ProxyError as error:
            logger.warning("no profile can be tried here: %s", error)
            return
        for verdict in found.values():
            word = "passed" if verdict.ok else "failed" if verdict.final else "unfinished"
            self._measurements.judged(word, time.monotonic() - began)
        self._verdicts |= {(frontends, i): v for i, v in found.items() if v.ok}
        if frontends == self._running:
            self.loaded(frontends)
        runs = self._of(running, generation)
        for profile_id, verdict in found.items():
            if verdict.ok:
                continue
            what = f"a throwaway HAProxy with profile {profile_id} failed: {verdict.reason}"
            if profile_id not in runs:
                raise ConfigRejectedError(what)
            logger.error("%s; it is kept, since it runs already", what)

    def _of(self, running: Path | None, generation: Path) -> frozenset[str]:
        """The profiles that run, if they do so with the same templates."""
        now = self._generations.manifest(running.name) if running else None
        then = self._generations.manifest(generation.name)
        if now is None or then is None or now.templates != then.templates:
            return frozenset()
        return frozenset(profile.id for profile, _ in now.pools)

    def _knows(self, frontends: str, profile: Profile) -> bool:
        verdict = self._verdicts.get((frontends, profile.id))
        return verdict is not None and (verdict.dynamic_ok is not None or not self.dynamic)

    def _frame(self, generation: Path, *slots: str) -> dict[str, str]:
        shards = sorted({shard_at(profile_id, 0) for profile_id in slots})
        return self._generations.read(generation, *FRAME, *map(shard_name, shards))
