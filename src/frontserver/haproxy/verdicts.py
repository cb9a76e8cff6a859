"""What trials found, kept between starts: by program, by configuration, by profile."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import msgspec

from frontserver.errors import StorageError
from frontserver.planning.capabilities import Behaviour

logger = logging.getLogger(__name__)

# Profiles of tenants come and go; this many of the newest findings are kept.
_KEPT = 4096


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a profile may reach the real HAProxy; if not, `reason` names step and answer.

    `dynamic_ok` is the same for backends made at run time, `None` if that wasn't tried. A verdict
    that isn't `final` says only that something took too long: a busy machine may be why, so the
    same may be tried again later.
    """

    ok: bool
    reason: str | None = None
    dynamic_ok: bool | None = None
    dynamic_reason: str | None = None
    final: bool = True


class _Findings(msgspec.Struct):
    verdicts: dict[str, Verdict] = {}
    behaviours: dict[str, Behaviour] = {}


class Verdicts:
    """A JSON file, replaced as a whole. One that can't be read is as good as none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._findings: _Findings | None = None
        # Canary and prober keep what they find in threads of their own.
        self._writing = threading.Lock()

    def verdict(self, program: str, fingerprint: str) -> Verdict | None:
        """`program` is HAProxy's version with its build, `fingerprint` of what was tried."""
        return self._loaded().verdicts.get(f"{program} {fingerprint}")

    def behaviour(self, program: str, fingerprint: str) -> Behaviour | None:
        """What was found out about a program, with a configuration's `global` part."""
        return self._loaded().behaviours.get(f"{program} {fingerprint}")

    def keep_verdicts(self, program: str, found: dict[str, Verdict]) -> None:
        """Add those that are final, by fingerprint. Raises `StorageError`; known they are still."""
        final = {fingerprint: verdict for fingerprint, verdict in found.items() if verdict.final}
        with self._writing:
            verdicts = self._loaded().verdicts
            for fingerprint, verdict in final.items():
                # Put last: the newest ones stay.
                verdicts.pop(f"{program} {fingerprint}", None)
                verdicts[f"{program} {fingerprint}"] = verdict
            if final:
                self._write()

    def keep_behaviour(self, program: str, fingerprint: str, found: Behaviour) -> None:
        """Add what a probe found. Raises `StorageError`; it is known all the same."""
        with self._writing:
            self._loaded().behaviours[f"{program} {fingerprint}"] = found
            self._write()

    def _loaded(self) -> _Findings:
        if self._findings is None:
            try:
                self._findings = msgspec.json.decode(self._path.read_bytes(), type=_Findings)
            except FileNotFoundError:
                self._findings = _Findings()
            except (OSError, msgspec.DecodeError) as error:
                logger.warning("%s can't be read, profiles are tried again: %s", self._path, error)
                self._findings = _Findings()
        return self._findings

    def _write(self) -> None:
        findings = self._loaded()
        for kept in (findings.verdicts, findings.behaviours):
            for key in list(kept)[:-_KEPT]:
                del kept[key]
        draft = self._path.with_name(f".{self._path.name}.tmp")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(findings))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError as error:
            raise StorageError(f"{self._path} can't be written: {error}") from error
