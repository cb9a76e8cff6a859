"""Changes → what to do about them: runtime actions, or a reload, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from frontserver.model.routes import RouteKey
from frontserver.planning.actions import (
    Action,
    CutServer,
    DropEntry,
    PutBackend,
    PutCaFile,
    PutCertificate,
    PutEntry,
    PutServer,
    Removal,
    RetireServer,
    SetServer,
)
from frontserver.planning.compiled import CompiledRoute, Profile
from frontserver.planning.diff import Changes, RouteChange
from frontserver.planning.layout import Layout, PoolPolicy
from frontserver.planning.limits import RuntimeLimits

_NO_LIMITS = RuntimeLimits()

# Backends that are made at run time for one plan: they take as long as a reload together.
MOST_GROWTH = 512


class ReloadReason(StrEnum):
    """The only reasons for which HAProxy is reloaded."""

    NEW_PROFILE = "new-profile"
    POOL_EMPTY = "pool-empty"
    POOL_REFILL = "pool-refill"
    RUNTIME_LIMITS = "runtime-limits"
    FRONTENDS = "frontends"
    CERTIFICATES = "certificates"


class RouteSteps(msgspec.Struct, frozen=True):
    """The actions for one route, in order; either all take effect or the route has failed.

    `vacated` is the backend that is empty once the actions are done. It rests until its last
    stream has ended; then the `afterwards` are due, and it may serve another route.
    """

    key: RouteKey
    actions: tuple[Action, ...]
    new: CompiledRoute | None
    slot: str | None
    vacated: str | None = None
    afterwards: tuple[Action, ...] = ()

    @property
    def removals(self) -> tuple[Removal, ...]:
        """Those of the actions that take servers out of service."""
        return tuple(action for action in self.actions if isinstance(action, Removal))


class Plan(msgspec.Struct, frozen=True):
    """First `steps`, which need no reload, then the reload if there are reasons for one.

    `layout` holds after the steps. The reload brings in the `deferred` routes, for what `why`
    says of each; `lay_out` says where they will sit. Without reasons nothing is deferred.
    """

    steps: tuple[RouteSteps, ...]
    certificates: tuple[Action, ...]
    reasons: tuple[ReloadReason, ...]
    deferred: tuple[RouteChange, ...]
    layout: Layout
    why: Mapping[RouteKey, ReloadReason] = {}


def plan(
    changes: Changes,
    layout: Layout,
    growing: frozenset[str] = frozenset(),
    limits: RuntimeLimits | None = None,
) -> Plan:
    """How to make the changes on a HAProxy whose backends are laid out as `layout`.

    A route needs a reload only if its profile isn't loaded or has no free slot, or if the
    `limits` of the way to HAProxy prevent it; pools of the profiles of these ids are `growing` by
    backends that HAProxy makes at run time, unless so many are missing that a reload is done
    sooner.
    """
    growing = growing - _lacking(changes, layout)
    steps: list[RouteSteps] = []
    deferred: list[RouteChange] = []
    why: dict[RouteKey, ReloadReason] = {}
    for change in changes.routes:
        reason = _blocker(change, layout, growing, limits or _NO_LIMITS)
        if reason is not None:
            why[change.key] = reason
            deferred.append(change)
            continue
        step, layout = _steps(change, layout)
        steps.append(step)
    reasons = set(why.values())
    if changes.frontends is not None:
        reasons.add(ReloadReason.FRONTENDS)
    if changes.certificate_names_differ:
        reasons.add(ReloadReason.CERTIFICATES)
    return Plan(
        steps=tuple(steps),
        certificates=tuple(PutCertificate(c) for c in changes.certificates)
        if not changes.certificate_names_differ
        else (),
        reasons=tuple(sorted(reasons)),
        deferred=tuple(deferred),
        layout=layout,
        why=why,
    )


def _lacking(changes: Changes, layout: Layout) -> set[str]:
    """The ids of loaded profiles whose pools lack more slots than are worth making one by one."""
    wanted = Counter(
        change.new.profile.id
        for change in changes.routes
        if change.new is not None and not _stays(change, layout)
    )
    return {
        profile_id
        for profile_id, count in wanted.items()
        if profile_id in layout.pools and count - layout.pools[profile_id].spare > MOST_GROWTH
    }


def _stays(change: RouteChange, layout: Layout) -> bool:
    """Whether the route keeps its slot."""
    old, new = change.old, change.new
    if old is None or new is None or change.key not in layout.slots:
        return False
    return old.profile == new.profile


def _blocker(
    change: RouteChange, layout: Layout, growing: frozenset[str], limits: RuntimeLimits
) -> ReloadReason | None:
    """Why the change can't be made at run time, or `None` if it can."""
    old, new = change.old, change.new
    if new is None:
        return None
    loaded = new.profile.id in layout.pools
    stays = _stays(change, layout)
    if stays or layout.free(new.profile) or (loaded and new.profile.id in growing):
        limited = limits.prevent(old if stays else None, new)
        return ReloadReason.RUNTIME_LIMITS if limited else None
    return ReloadReason.POOL_EMPTY if loaded else ReloadReason.NEW_PROFILE


def lay_out(
    layout: Layout,
    deferred: Sequence[RouteChange],
    policy: PoolPolicy,
    hot: frozenset[str] = frozenset(),
) -> Layout:
    """The layout that a reload loads, with the `deferred` routes placed in pools grown for them.

    `hot` names the profiles whose pools were filled a short while ago.
    """
    layout = _without(layout, deferred).reloaded(_demand(deferred), policy, hot)
    return _with(layout, deferred)


def lay_out_within(
    layout: Layout, deferred: Sequence[RouteChange], prepared: Layout
) -> Layout | None:
    """Likewise, but with the pools of `prepared` as they are; `None` if they don't suffice.

    `prepared` was laid out for a reload a while ago; `layout` is what runs by now.
    """
    within = _without(layout, deferred).resized(prepared.pools)
    if within is None:
        return None
    demand = _demand(deferred)
    if any(profile.id not in within.pools for profile in demand):
        return None
    if any(within.pools[profile.id].spare < count for profile, count in demand.items()):
        return None
    return _with(within, deferred)


def _without(layout: Layout, deferred: Sequence[RouteChange]) -> Layout:
    for change in deferred:
        if change.key in layout.slots:
            layout = layout.vacate(change.key)
    return layout


def _demand(deferred: Sequence[RouteChange]) -> Counter[Profile]:
    return Counter(change.new.profile for change in deferred if change.new is not None)


def _with(layout: Layout, deferred: Sequence[RouteChange]) -> Layout:
    for change in deferred:
        if change.new is not None:
            layout = layout.place(change.key, change.new.profile)
    return layout


def _steps(change: RouteChange, layout: Layout) -> tuple[RouteSteps, Layout]:
    key, old, new = change.key, change.old, change.new
    had = layout.slots.get(key)
    if old is not None and new is not None and had is not None and old.profile == new.profile:
        return RouteSteps(key, _update(old, new, had), new, had), layout
    layout = layout.vacate(key) if had else layout
    if new is None:
        actions = (*_hide(old), *_empty(old, had, CutServer))
        return RouteSteps(key, actions, None, None, had, _forget(old, had)), layout
    layout = layout.place(key, new.profile)
    slot = layout.slots[key]
    made = (PutBackend(slot, new.profile.id),) if layout.is_extra(slot) else ()
    actions = (*made, *_fill(new, slot), *_expose(old, new, slot), *_empty(old, had, RetireServer))
    return RouteSteps(key, actions, new, slot, had, _forget(old, had)), layout


def _fill(new: CompiledRoute, slot: str) -> tuple[Action, ...]:
    """Everything of a route but its reachability."""
    return (
        *(PutCaFile(file) for file in new.ca_files),
        *(PutEntry(value.map, slot + value.suffix, value.value) for value in new.values),
        *(PutServer(slot, server) for server in new.servers),
    )


def _expose(old: CompiledRoute | None, new: CompiledRoute, slot: str) -> tuple[Action, ...]:
    """Make it reachable; its flags are there by now, so no request slips past a redirect."""
    return (
        *(PutEntry(name, key, slot) for name, key in new.routing),
        *(
            DropEntry(name, key)
            for name, key in (old.routing if old else ())
            if (name, key) not in new.routing
        ),
    )


def _hide(old: CompiledRoute | None) -> tuple[Action, ...]:
    """Make it unreachable: routing first, so that nothing new arrives."""
    if old is None:
        return ()
    return tuple(DropEntry(name, key) for name, key in old.routing)


def _empty(
    old: CompiledRoute | None, slot: str | None, remove: type[CutServer | RetireServer]
) -> tuple[Action, ...]:
    if old is None or slot is None:
        return ()
    return tuple(remove(slot, server.name) for server in old.servers)


def _forget(old: CompiledRoute | None, slot: str | None) -> tuple[Action, ...]:
    """Drop the values of a backend; streams that still run there use them until they end."""
    if old is None or slot is None:
        return ()
    return tuple(DropEntry(value.map, slot + value.suffix) for value in old.values)


def _update(old: CompiledRoute, new: CompiledRoute, slot: str) -> tuple[Action, ...]:
    """Change a route where it is: what is new comes before what is old goes."""
    before = {server.name: server for server in old.servers}
    after = {server.name for server in new.servers}
    values = {(value.map, value.suffix) for value in new.values}
    unmoved = {PutEntry(name, key, slot) for name, key in old.routing}
    return (
        *(PutCaFile(file) for file in new.ca_files if file not in old.ca_files),
        *(PutEntry(v.map, slot + v.suffix, v.value) for v in new.values if v not in old.values),
        *(PutServer(slot, server) for server in new.servers if server.name not in before),
        *(
            SetServer(slot, server)
            for server in new.servers
            if server.name in before and server != before[server.name]
        ),
        *(action for action in _expose(old, new, slot) if action not in unmoved),
        *(RetireServer(slot, name) for name in sorted(before.keys() - after)),
        *(DropEntry(v.map, slot + v.suffix) for v in old.values if (v.map, v.suffix) not in values),
    )
