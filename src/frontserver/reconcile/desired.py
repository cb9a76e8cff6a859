"""What should run: the stored routes, compiled as far as they can be."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import islice

from frontserver.errors import InputError
from frontserver.model.routes import HttpRoute, Route, RouteKey
from frontserver.model.status import RouteState, RouteStatus
from frontserver.model.targets import TargetPolicy
from frontserver.planning.compile import compile_route, named_hosts, unresolved_hosts
from frontserver.planning.compiled import CompiledConfig, CompiledRoute
from frontserver.planning.running import Running
from frontserver.reconcile.recognition import addresses_in_use
from frontserver.reconcile.resolution import Resolver
from frontserver.storage.routes import StoredRoute

logger = logging.getLogger(__name__)

_AT_ONCE = 200


class DesiredState:
    """Keeps `config` in step with the stored routes, names and refusals that it is told of.

    A route whose names don't resolve yet, or that HAProxy refused, stays as it was before its
    owner changed it; one that is forbidden is taken out. Its status says why.
    """

    def __init__(self, config: CompiledConfig, resolver: Resolver, policy: TargetPolicy) -> None:
        self.config = config
        self.stored: dict[RouteKey, StoredRoute] = {}
        self._resolver = resolver
        self._policy = policy
        self._by_host: dict[str, set[RouteKey]] = defaultdict(set)
        self._refused: dict[RouteKey, tuple[int, str]] = {}
        self._handed_over: set[RouteKey] = set()
        # What stored routes compile to, where nothing but themselves decides that.
        self._made: dict[RouteKey, tuple[StoredRoute, CompiledRoute]] = {}

    @property
    def hosts(self) -> frozenset[str]:
        """All names that routes point to."""
        return frozenset(self._by_host)

    @property
    def extended(self) -> set[RouteKey]:
        """The routes with a profile of the operator's, which change with its template."""
        return {
            key
            for key, stored in self.stored.items()
            if isinstance(stored.route, HttpRoute) and stored.route.profile is not None
        }

    def keys_of(self, hosts: Iterable[str]) -> set[RouteKey]:
        """The routes that point to any of these names."""
        return {key for host in hosts for key in self._by_host.get(host, ())}

    def owners_of(self, host: str) -> frozenset[str]:
        """The agents whose routes point to this name."""
        routes = (self.stored[key].route for key in self._by_host.get(host, ()))
        return frozenset(str(route.agent_id) for route in routes if route is not None)

    def revision_of(self, key: RouteKey) -> int:
        """The revision at which the route was stored or removed last; 0 if never heard of."""
        stored = self.stored.get(key)
        return stored.revision if stored else 0

    def take(self, changed: Mapping[RouteKey, StoredRoute]) -> frozenset[str]:
        """Hear of stored routes; returns names that nobody has looked up yet."""
        for key, stored in changed.items():
            before = self.stored.get(key)
            self._index(key, before.route if before else None, stored.route)
            self.stored[key] = stored
            if before is not None and stored.route is not None and _changes_hands(before, stored):
                self._handed_over.add(key)
        return frozenset(
            host
            for stored in changed.values()
            if stored.route is not None
            for host in unresolved_hosts(stored.route, self._resolver.addresses)
            if host not in self._resolver.problems
        )

    def handed_over(self, keys: Iterable[RouteKey]) -> frozenset[RouteKey]:
        """Those of the names that were removed and given away since HAProxy last heard of them.

        Whatever runs under such a name may be its former owner's, and must go first.
        """
        # Not `intersection`: it would walk a set that was large once, however empty it is now.
        return frozenset(key for key in keys if key in self._handed_over)

    def doubt(self, keys: Iterable[RouteKey]) -> None:
        """Nobody knows whose is what runs under these names."""
        self._handed_over.update(keys)

    def taken_over(self, key: RouteKey) -> None:
        """Nothing of a former owner runs under this name any more."""
        self._handed_over.discard(key)

    def forget(self, key: RouteKey) -> None:
        """The route was removed, and HAProxy has heard of it."""
        self.stored.pop(key, None)
        self._made.pop(key, None)
        self._refused.pop(key, None)
        self._handed_over.discard(key)

    def recognise(self, running: Running) -> None:
        """Take names to have the addresses that they run with, until they are looked up again.

        So a restart disturbs nothing, however long the name servers take.
        """
        for stored in self.stored.values():
            if stored.route is not None:
                found = addresses_in_use(stored.route, running, self._resolver.addresses)
                self._resolver.addresses.update(found)

    def refuse(self, key: RouteKey, reason: str) -> None:
        """HAProxy refused the route as it is stored now."""
        self._refused[key] = (self.revision_of(key), reason)

    def retry_refused(self) -> set[RouteKey]:
        """Give refused routes another chance: HAProxy or the templates may have changed."""
        keys = set(self._refused)
        self._refused.clear()
        return keys

    def recompile(
        self, keys: Iterable[RouteKey], before: CompiledConfig
    ) -> dict[RouteKey, RouteStatus]:
        """Bring `config` up to date for these routes.

        `before` is what runs: a route that can't be compiled now keeps what it has there.
        Returns the statuses of routes that aren't on their way into HAProxy, and why.
        """
        compiled: dict[RouteKey, CompiledRoute | None] = {}
        blocked: dict[RouteKey, RouteStatus] = {}
        for key in keys:
            stored = self.stored.get(key)
            if stored is None or stored.route is None:
                compiled[key] = None
                continue
            made = self._made.get(key)
            if made is not None and made[0] is stored and key not in self._refused:
                compiled[key] = made[1]
                continue
            status, route = self._try_to_compile(stored.route, stored.revision)
            if route is not None and _compiles_to_the_same_always(stored.route):
                self._made[key] = stored, route
            if status is None:
                compiled[key] = route
                continue
            blocked[key] = status
            keeps = status.state == RouteState.PENDING or key in self._refused
            compiled[key] = before.routes.get(key) if keeps else None
        self.config = self.config.with_routes(compiled)
        return blocked

    async def recompile_in_turns(
        self, keys: Iterable[RouteKey], before: CompiledConfig
    ) -> dict[RouteKey, RouteStatus]:
        """As `recompile`; of many some at a time, since others wait for the processor."""
        blocked: dict[RouteKey, RouteStatus] = {}
        waiting = iter(list(keys))
        while some := list(islice(waiting, _AT_ONCE)):
            blocked |= self.recompile(some, before)
            if len(some) == _AT_ONCE:
                await asyncio.sleep(0)
        return blocked

    def _try_to_compile(
        self, route: Route, revision: int
    ) -> tuple[RouteStatus | None, CompiledRoute | None]:
        try:
            return self._compile(route, revision)
        except Exception:
            # One route must not stop all others, whatever is wrong with it.
            logger.exception("route %s can't be compiled", route.key)
            reason = "internal error; see the front server's log"
            return RouteStatus(RouteState.FAILED, revision, reason), None

    def _compile(
        self, route: Route, revision: int
    ) -> tuple[RouteStatus | None, CompiledRoute | None]:
        refused = self._refused.get(route.key)
        if refused is not None and refused[0] == revision:
            return RouteStatus(RouteState.FAILED, revision, refused[1]), None
        self._refused.pop(route.key, None)
        missing = unresolved_hosts(route, self._resolver.addresses)
        if missing:
            reason = self._resolver.problems.get(missing[0], f"{missing[0]} is being resolved")
            return RouteStatus(RouteState.PENDING, revision, reason), None
        extensions = self.config.frontends.extensions
        try:
            compiled = compile_route(route, self._resolver.addresses, extensions)
        except InputError as error:
            return RouteStatus(RouteState.FAILED, revision, error.message), None
        for server in compiled.servers:
            refusal = self._policy.refusal(ipaddress.ip_address(server.address), server.port)
            if refusal is not None:
                return RouteStatus(RouteState.FAILED, revision, f"target: {refusal}"), None
        return None, compiled

    def _index(self, key: RouteKey, before: Route | None, after: Route | None) -> None:
        old = named_hosts(before) if before else frozenset()
        new = named_hosts(after) if after else frozenset()
        for host in new - old:
            self._by_host[host].add(key)
        for host in old - new:
            self._by_host[host].discard(key)
            if not self._by_host[host]:
                del self._by_host[host]
                self._resolver.forget([host])


def _compiles_to_the_same_always(route: Route) -> bool:
    """Whether neither name servers nor the operator's templates have a say."""
    return not named_hosts(route) and getattr(route, "profile", None) is None


def _changes_hands(before: StoredRoute, after: StoredRoute) -> bool:
    if before.route is None or after.route is None:
        return True
    return before.route.agent_id != after.route.agent_id
