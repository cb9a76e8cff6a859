"""The HAProxy programs on this machine, by version."""

from __future__ import annotations

from harness.versions import program, programs, version_of

__all__ = ["label", "program", "programs", "version_of"]


def label(peer: str) -> str:
    """The version that a peer such as `ours:3.2` names; of one without, the oldest here."""
    return peer.partition(":")[2] or next(iter(sorted(programs())), "")
