"""By what a configuration is recognised that HAProxy runs."""

from __future__ import annotations

import msgspec

from frontserver.backends.port import State
from frontserver.planning.compiled import Profile, digest


class Manifest(msgspec.Struct, frozen=True):
    """What a configuration holds, to recognise a HAProxy that has loaded it.

    `frontends` and `templates` are fingerprints.
    """

    frontends: str
    pools: tuple[tuple[Profile, int], ...]
    templates: str = ""

    def label(self, name: str) -> str:
        """What HAProxy calls the configuration `name`, if this is what it holds.

        A name alone may come back, when somebody has emptied the directory of names.
        """
        return f"{name}-{digest(self, 8)}"

    @classmethod
    def of(cls, state: State) -> Manifest:
        """The manifest of a configuration that is to be loaded."""
        pools = tuple((pool.profile, pool.size) for _, pool in sorted(state.layout.pools.items()))
        frontends = state.config.frontends
        return cls(frontends.fingerprint, pools, frontends.templates)
