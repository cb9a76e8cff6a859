"""What differs between two compiled configurations."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from frontserver.model.routes import RouteKey
from frontserver.planning.compiled import Certificate, CompiledConfig, CompiledRoute, Frontends


class RouteChange(msgspec.Struct, frozen=True):
    """One route before and after; `None` is absent."""

    key: RouteKey
    old: CompiledRoute | None
    new: CompiledRoute | None


class Changes(msgspec.Struct, frozen=True):
    """All differences. `frontends` and `certificates` are the new ones, where they differ."""

    routes: tuple[RouteChange, ...] = ()
    frontends: Frontends | None = None
    certificates: tuple[Certificate, ...] = ()
    certificate_names_differ: bool = False

    def __bool__(self) -> bool:
        return bool(
            self.routes or self.frontends or self.certificates or self.certificate_names_differ
        )


def diff(
    old: CompiledConfig, new: CompiledConfig, keys: Iterable[RouteKey] | None = None
) -> Changes:
    """The changes that lead from `old` to `new`: removals first, routes in the order of their keys.

    So a path that its owner gave up is gone before the domain is another agent's.

    `keys` names the routes that may differ, so that the cost follows the change; without it
    every route is compared.
    """
    candidates = set(old.routes) | set(new.routes) if keys is None else set(keys)
    changed = [
        RouteChange(key, before, after)
        for key in sorted(candidates)
        if (before := old.routes.get(key)) != (after := new.routes.get(key))
    ]
    routes = tuple(sorted(changed, key=lambda change: change.new is not None))
    before_names = {certificate.name for certificate in old.certificates}
    return Changes(
        routes=routes,
        frontends=new.frontends if old.frontends != new.frontends else None,
        certificates=tuple(c for c in new.certificates if c not in old.certificates),
        certificate_names_differ=before_names != {c.name for c in new.certificates},
    )
