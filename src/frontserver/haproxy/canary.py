"""The canary: a profile is tried on a throwaway HAProxy before the real one ever sees it.

HAProxy accepts some configurations that end its worker at the first command or request, and with
the worker everything goes. So each new profile lives the whole life of a route (`trials`) on a
process of the same program. Verdicts are kept by program and content.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from frontserver.errors import ConfigRejectedError, StorageError
from frontserver.haproxy.excerpt import Excerpt, excerpt
from frontserver.haproxy.origin import Origin, origin
from frontserver.haproxy.program import Program
from frontserver.haproxy.throwaway import Throwaway, sweep, throwaway
from frontserver.haproxy.trials import (
    SLOTS,
    EndedError,
    Run,
    dynamic_trials,
    listeners,
    static_trials,
)
from frontserver.haproxy.verdicts import Verdict, Verdicts
from frontserver.planning.compiled import MAPS, Profile, digest

__all__ = ["Canary", "Verdict", "Verdicts"]

logger = logging.getLogger(__name__)

# Part of every fingerprint: to be changed when trials do more than before.
_TRIALS = "1"
# Tried on one process; far below its `maxconn`.
_MOST = 64
_LONGEST_REASON = 800


class Canary:
    """Tries profiles on the program that would run them."""

    def __init__(self, program: Path, verdicts: Verdicts, *, seconds: float = 10.0) -> None:
        """`seconds` bound one throwaway process; usual is 0.1."""
        self._program = Program(program)
        self._verdicts = verdicts
        self._seconds = seconds
        self._lock = asyncio.Lock()
        self._swept = False

    async def try_profiles(
        self, texts: Mapping[str, str], profiles: Sequence[Profile], *, dynamic: bool = False
    ) -> Mapping[str, Verdict]:
        """A verdict for each profile, by its id; those that are known cost nothing.

        `texts` are the rendered files that hold `global`, the `defaults` sections and these
        profiles, by name; what listens in them is left out. With `dynamic`, backends made at run
        time are tried too. Raises `ConfigRejectedError` if HAProxy refuses what isn't of any
        profile, and `ProxyError` if nothing can be tried here at all: both say nothing of profiles.
        """
        wanted = {profile.id: profile for profile in profiles}
        async with self._lock:
            program = await self._program.version()
            cut = excerpt(texts, frozenset(wanted), slots=SLOTS)
            prints = {one: digest((_TRIALS, cut.base, cut.profiles[one]), 24) for one in wanted}
            known = {one: self._verdicts.verdict(program, prints[one]) for one in wanted}
            verdicts = {
                one: verdict
                for one, verdict in known.items()
                if verdict is not None
                and (not dynamic or not verdict.ok or verdict.dynamic_ok is not None)
            }
            unknown = [wanted[one] for one in wanted if one not in verdicts]
            for start in range(0, len(unknown), _MOST):
                found = await self._try(cut, unknown[start : start + _MOST], dynamic)
                verdicts |= found
                self._keep(program, {prints[one]: verdict for one, verdict in found.items()})
        return verdicts

    def _keep(self, program: str, found: dict[str, Verdict]) -> None:
        try:
            self._verdicts.keep_verdicts(program, found)
        except StorageError as error:
            logger.warning("%s; the same profiles will be tried again after a restart", error)

    async def _try(
        self, cut: Excerpt, profiles: Sequence[Profile], dynamic: bool
    ) -> dict[str, Verdict]:
        """All on one process; if that ends, each half by itself, down to the culprits."""
        try:
            return await self._on_one_process(cut, profiles, dynamic)
        except (ConfigRejectedError, EndedError) as error:
            if len(profiles) == 1:
                if isinstance(error, ConfigRejectedError):
                    # Refused as it is without any profile: then it isn't this one's fault.
                    await self._on_one_process(cut, (), dynamic)
                final = not isinstance(error, EndedError) or error.certain
                return {
                    profiles[0].id: Verdict(ok=False, reason=_short(error.message), final=final)
                }
        half = len(profiles) // 2
        return {
            **await self._try(cut, profiles[:half], dynamic),
            **await self._try(cut, profiles[half:], dynamic),
        }

    async def _on_one_process(
        self, cut: Excerpt, profiles: Sequence[Profile], dynamic: bool
    ) -> dict[str, Verdict]:
        if not self._swept:
            await asyncio.to_thread(sweep)
            self._swept = True

        def configuration(directory: Path) -> str:
            ids = (profile.id for profile in profiles)
            return cut.text(directory, *ids) + listeners(directory)

        try:
            async with (
                asyncio.timeout(self._seconds),
                throwaway(self._program.path, configuration, dict.fromkeys(MAPS, "")) as process,
                origin(process.directory) as ends,
            ):
                run = Run(process, step_by_step=len(profiles) == 1)
                await run.prepare(ends)
                await run.live(static_trials(profiles, ends))
                verdicts = {
                    profile.id: Verdict(
                        ok=profile.id not in run.failures,
                        reason=_short(run.failures.get(profile.id)),
                        final=profile.id not in run.slow,
                    )
                    for profile in profiles
                }
                if dynamic:
                    good = [profile for profile in profiles if verdicts[profile.id].ok]
                    verdicts |= await _dynamic(process, good, ends)
                return verdicts
        except TimeoutError as error:
            what = f"the trial came to no end within {self._seconds} s"
            raise EndedError(what, certain=False) from error


async def _dynamic(
    process: Throwaway, profiles: Sequence[Profile], ends: Origin
) -> dict[str, Verdict]:
    """Verdicts for profiles that passed on static slots."""
    run = Run(process, step_by_step=len(profiles) == 1)
    try:
        await run.live(dynamic_trials(profiles, ends))
    except EndedError as error:
        if len(profiles) != 1:
            raise
        (profile,) = profiles
        run.failures[profile.id] = error.message
        if not error.certain:
            run.slow.add(profile.id)
    return {
        profile.id: Verdict(
            ok=True,
            dynamic_ok=profile.id not in run.failures,
            dynamic_reason=_short(run.failures.get(profile.id)),
            final=profile.id not in run.slow,
        )
        for profile in profiles
    }


def _short(reason: str | None) -> str | None:
    return reason[:_LONGEST_REASON] if reason else None
