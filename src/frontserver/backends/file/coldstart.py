"""What a HAProxy finds that is started without us, or by us: a configuration that it will load."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import msgspec

from frontserver.backends.file.drafts import Drafts
from frontserver.backends.file.generations import Generations
from frontserver.backends.file.judge import Judge
from frontserver.backends.file.mirror import Mirror
from frontserver.backends.port import State
from frontserver.errors import ConfigRejectedError, FrontServerError
from frontserver.planning.compiled import Certificate, CompiledConfig
from frontserver.rendering.invariants import check_invariants
from frontserver.rendering.render import PROFILES, Renderer

logger = logging.getLogger(__name__)


class ColdStart:
    """Sees to it that the current generation is one that HAProxy can start with.

    `frame` is the configuration whose listeners it should have.
    """

    def __init__(
        self,
        renderer: Renderer,
        generations: Generations,
        mirror: Mirror,
        drafts: Drafts,
        judge: Judge,
    ) -> None:
        self.frame: CompiledConfig | None = None
        self._empty: State | None = None
        self._renderer = renderer
        self._generations = generations
        self._mirror = mirror
        self._drafts = drafts
        self._judge = judge

    async def provide(self, empty: State) -> None:
        """Have a current generation, at least `empty`; raises as `Drafts.make` and `Judge`."""
        await asyncio.to_thread(self._generations.prepare)
        if self._generations.current() is None:
            await self._promote_new(empty)
        self._empty, self.frame = empty, empty.config

    def renew(self, certificate: Certificate) -> None:
        """This certificate has replaced the one of its name."""
        if self.frame is not None:
            self.frame = self.frame.with_certificate(certificate)
        if self._empty is not None:
            self._empty = self._empty.with_certificate(certificate)

    async def prepare(self) -> None:
        """Have the current generation be one that loads: itself, else the last good one, else new.

        A new one is of what is known. Raises `ConfigRejectedError` if even that doesn't load.
        """
        try:
            await self._mirror.flush()
            await asyncio.to_thread(self.reframe)
        except FrontServerError as error:
            logger.error("%s; HAProxy starts with what is on disk", error)
        current = self._generations.current()
        last_good = self._generations.before(current) if current else None
        for generation in (current, last_good):
            if generation is not None and await self._is_good(generation):
                if generation != current:
                    await asyncio.to_thread(self._generations.promote, generation)
                return
        state = self._mirror.state or self._empty
        if state is None:
            raise ConfigRejectedError("there is no configuration to start with")
        await self._promote_new(state)

    def reframe(self) -> None:
        """Give a stopped HAProxy's configuration the listeners that are set now. Blocks."""
        current, frame = self._generations.current(), self.frame
        if current is None or frame is None:
            return
        frontends = frame.frontends
        manifest = self._generations.manifest(current.name)
        if manifest is None or manifest.frontends == frontends.fingerprint:
            return
        name = self._generations.next_name()
        same = manifest.templates == frontends.templates
        # Slots of another template stay as they are, so the next look finds a difference.
        fresh = msgspec.structs.replace(
            manifest, frontends=frontends.fingerprint if same else "of mixed templates"
        )
        files = self._generations.read(current)
        files |= self._renderer.frame(frontends, generation=fresh.label(name))
        files[PROFILES] = self._renderer.profiles(frontends, (p for p, _ in manifest.pools))
        files |= self._renderer.certificates(frame)
        check_invariants(files)
        self._generations.promote(self._generations.write(name, files, fresh))

    async def _promote_new(self, state: State) -> None:
        draft = await self._drafts.make_whole(state)
        await self._judge.require_or_discard(draft.path, draft.state, None)
        await asyncio.to_thread(self._generations.promote, draft.path)

    async def _is_good(self, generation: Path) -> bool:
        if self._generations.manifest(generation.name) is None:
            logger.error("the configuration %s is gone or damaged", generation)
            return False
        if lost := await asyncio.to_thread(self._generations.lost, generation):
            logger.error("the configuration %s has lost %s", generation, ", ".join(lost))
            return False
        for name in await asyncio.to_thread(self._generations.heal, generation):
            logger.error("the last line of %s in %s had no end; it is left out", name, generation)
        try:
            await self._judge.accepts(generation)
        except ConfigRejectedError as error:
            logger.error("%s; HAProxy won't start with %s", error, generation)
            return False
        return True
