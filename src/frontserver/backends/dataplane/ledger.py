"""The configurations that HAProxy was given, by the label it knows them by.

A configuration says which one it is by an empty backend, its marker: HAProxy has the backend if it
runs the configuration, with its pools. What else that holds is in here, so that it is known after
a restart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from frontserver.backends import durable
from frontserver.backends.dataplane import pools_file
from frontserver.backends.manifest import Manifest

_LABEL = re.compile(r"[0-9]{6,}-[0-9a-f]{8}")
_MARKER = re.compile(rf"^backend fs_rev_(?P<label>{_LABEL.pattern})\b", re.MULTILINE)

# What runs, what is being loaded, and what may run again after a failure.
_KEPT = 4


def marker(label: str) -> str:
    """The backend by which a configuration is recognised."""
    return f"fs_rev_{label}"


def labels_in(text: str) -> tuple[str, ...]:
    """The labels that a configuration goes by: one, if nobody has meddled with it."""
    markers = [match["label"] for match in _MARKER.finditer(text)]
    chosen = [key for key in pools_file.chosen_in(text) if _LABEL.fullmatch(key)]
    return tuple(dict.fromkeys([*markers, *chosen]))


class Ledger:
    """Manifests by label, in a file of the state directory; the newest come last. Blocks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Manifest] | None = None

    def get(self, label: str) -> Manifest | None:
        """The manifest of this label, if it is known and belongs to it."""
        manifest = self._read().get(label)
        name = label.partition("-")[0]
        return manifest if manifest is not None and manifest.label(name) == label else None

    def labels(self) -> tuple[str, ...]:
        """Those that are known, the newest first."""
        return tuple(reversed(self._read()))

    def add(self, manifest: Manifest, *, running: str | None, seen: Iterable[str] = ()) -> str:
        """Remember a configuration before HAProxy is given it; returns its label.

        What is `running` stays known, however many others HAProxy refuses. `seen` are labels met
        elsewhere, which a new one must not repeat.
        """
        known = self._read()
        numbers = [int(label.partition("-")[0]) for label in (*known, *seen)]
        label = manifest.label(f"{max(numbers, default=0) + 1:06d}")
        kept = {*list(known)[1 - _KEPT :], running}
        self._write({**{k: m for k, m in known.items() if k in kept}, label: manifest})
        return label

    def _read(self) -> dict[str, Manifest]:
        if self._known is None:
            try:
                content = self._path.read_bytes()
                self._known = msgspec.json.decode(content, type=dict[str, Manifest])
            except (OSError, msgspec.MsgspecError):
                # HAProxy then isn't recognised, and is given everything anew.
                self._known = {}
        return self._known

    def _write(self, known: dict[str, Manifest]) -> None:
        with durable.storage(self._path.name):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            durable.replace(self._path, msgspec.json.encode(known, enc_hook=str))
            durable.sync_directory(self._path.parent)
        self._known = known
