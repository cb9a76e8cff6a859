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

from frontserver.errors import ConfigRejectedError, ProxyError, StorageError
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
# Seconds. A worker that hangs takes 2 or 3 until its own watchdog ends it.
_LONGEST_TRIAL = 10.0


class Canary:
    """Tries profiles on the program that would run them."""

    def __init__(self, program: Path, verdicts: Verdicts, *, seconds: float = 30.0) -> None:
        """`seconds` bound the search for culprits; where there are none, it takes about 0.1 s."""
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
            if unknown and not self._swept:
                await asyncio.to_thread(sweep)
                self._swept = True
            deadline = asyncio.get_running_loop().time() + self._seconds
            search = _Search(self._program.path, cut, dynamic=dynamic, deadline=deadline)
            for start in range(0, len(unknown), _MOST):
                found = await search.verdicts(unknown[start : start + _MOST])
                verdicts |= found
                await self._keep(program, {prints[one]: verdict for one, verdict in found.items()})
        return verdicts

    async def _keep(self, program: str, found: dict[str, Verdict]) -> None:
        try:
            await asyncio.to_thread(self._verdicts.keep_verdicts, program, found)
        except StorageError as error:
            logger.warning("%s; the same profiles will be tried again after a restart", error)


class _Search:
    """For the culprits among some profiles; `deadline` by the loop's clock."""

    def __init__(self, program: Path, cut: Excerpt, *, dynamic: bool, deadline: float) -> None:
        self._program = program
        self._cut = cut
        self._dynamic = dynamic
        self._deadline = deadline

    async def verdicts(self, profiles: Sequence[Profile]) -> dict[str, Verdict]:
        """All on one process; if that ends, each half by itself, down to the culprits."""
        if asyncio.get_running_loop().time() >= self._deadline:
            late = Verdict(ok=False, reason="others took too long to be tried", final=False)
            return {profile.id: late for profile in profiles}
        try:
            return await self._together(profiles)
        except (ConfigRejectedError, EndedError) as error:
            if len(profiles) == 1:
                (profile,) = profiles
                return {profile.id: await self._blamed(error)}
        half = len(profiles) // 2
        return {
            **await self.verdicts(profiles[:half]),
            **await self.verdicts(profiles[half:]),
        }

    async def _blamed(self, error: ConfigRejectedError | EndedError) -> Verdict:
        """For a profile that was alone on its process. Raises `ConfigRejectedError`."""
        if isinstance(error, ConfigRejectedError):
            # Refused as it is without any profile: then it isn't this one's fault.
            await self._together(())
            return Verdict(ok=False, reason=_short(error.message))
        return Verdict(ok=False, reason=_short(error.message), final=error.certain)

    async def _together(self, profiles: Sequence[Profile]) -> dict[str, Verdict]:
        def configuration(directory: Path) -> str:
            ids = (profile.id for profile in profiles)
            return self._cut.text(directory, *ids) + listeners(directory)

        try:
            async with (
                asyncio.timeout(_LONGEST_TRIAL),
                throwaway(self._program, configuration, dict.fromkeys(MAPS, "")) as process,
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
                if self._dynamic:
                    good = [profile for profile in profiles if verdicts[profile.id].ok]
                    verdicts |= await _dynamic(process, good, ends)
                return verdicts
        except TimeoutError as error:
            what = f"the trial came to no end within {_LONGEST_TRIAL} s"
            raise EndedError(what, certain=False) from error
        except OSError as error:
            raise ProxyError(f"profiles can't be tried here: {error}") from error


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
