"""The stored routes as a reconciler reads them: all at once, then only what changed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from itertools import islice

from sqlalchemy import bindparam, literal_column, null, select, text

from frontserver.errors import InputError
from frontserver.model.routes import Route, RouteKey, RouteKind
from frontserver.model.status import RouteState, RouteStatus
from frontserver.storage.engine import Database
from frontserver.storage.repository import on_conflict, table_of, utc_now, values_of
from frontserver.storage.revisions import RevisionRepository
from frontserver.storage.routes import RouteReader, StoredRoute
from frontserver.storage.session import Session
from frontserver.storage.statements import Row, Statement
from frontserver.storage.tables import RemovedRouteRow, RouteRow, RouteStatusRow

_log = logging.getLogger(__name__)

# Statuses a transaction: whoever publishes meanwhile waits for no more than these.
_STEP = 50

_routes = table_of(RouteRow)
_removed = table_of(RemovedRouteRow)
_statuses = table_of(RouteStatusRow)

_every = select(
    _routes.c.kind,
    _routes.c.name,
    _routes.c.request,
    _routes.c.revision,
    _routes.c.created_revision,
)
_ALL = Statement(_every)
_CHANGED = Statement(_every.where(_routes.c.revision > bindparam("revision")))
_GONE = Statement(
    select(
        _removed.c.kind, _removed.c.name, null(), _removed.c.revision, literal_column("0")
    ).where(_removed.c.revision > bindparam("revision"))
)
_STATUSES = Statement(
    select(
        _statuses.c.kind,
        _statuses.c.name,
        _statuses.c.state,
        _statuses.c.revision,
        _statuses.c.reason,
    ).where(_statuses.c.node_id == bindparam("node"))
)
_ADD_NODE = Statement(
    text("INSERT INTO nodes (id, name) VALUES (:id, :name) ON CONFLICT DO NOTHING")
)
# A status is stored if its route is there, and replaces the one before.
_SAVE_STATUS = Statement(
    text(
        "INSERT INTO route_status (node_id, kind, name, state, reason, revision, updated_at) "  # noqa: S608 - our own names
        "SELECT :node_id, :kind, :name, :state, :reason, :revision, :updated_at "
        "WHERE EXISTS (SELECT 1 FROM routes WHERE kind = :kind AND name = :name) "
        + on_conflict(_statuses)
    ).bindparams(*values_of(_statuses.c))
)


class RouteStore:
    """Implements the reconciler's source of routes. Everything raises `StorageError`."""

    def __init__(
        self,
        database: Database,
        app_domain: str,
        mongo_domain: str,
        tls_available: bool,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._reader = RouteReader(
            app_domain=app_domain, mongo_domain=mongo_domain, tls_available=tls_available
        )
        self._clock = clock

    async def snapshot(self) -> tuple[int, dict[RouteKey, StoredRoute]]:
        """The newest revision and every route.

        A row that doesn't decode under today's rules is left out and logged: it must not keep
        all others from being served.
        """
        revision, routes = await self._database.read(self._all)
        return revision, {key: stored for key, stored in routes.items() if stored.route}

    async def changes_since(self, revision: int) -> tuple[int, dict[RouteKey, StoredRoute]]:
        """The newest revision and the routes changed after `revision`, at their cost alone.

        A removed route holds `None`, and so does one that doesn't decode.
        """
        return await self._database.read(partial(self._changes, revision))

    async def save_statuses(self, node: str, statuses: Mapping[RouteKey, RouteStatus]) -> None:
        """Remember what became of routes on a node; those that are gone are passed over."""
        pending = iter(statuses.items())
        while step := list(islice(pending, _STEP)):
            await self._database.write(partial(self._save, node, step))

    async def load_statuses(self, node: str) -> dict[RouteKey, RouteStatus]:
        """What was remembered last of a node; health isn't, since it changes by itself."""

        def load(session: Session) -> dict[RouteKey, RouteStatus]:
            return {
                _key(kind, name): RouteStatus(RouteState(state), revision, reason)
                for kind, name, state, revision, reason in session.rows(_STATUSES, node=node)
            }

        return await self._database.read(load)

    def _all(self, session: Session) -> tuple[int, dict[RouteKey, StoredRoute]]:
        revision = RevisionRepository(session).latest()
        return revision, self._decoded(session.rows(_ALL))

    def _changes(self, after: int, session: Session) -> tuple[int, dict[RouteKey, StoredRoute]]:
        revision = RevisionRepository(session).latest()
        rows = [*session.rows(_CHANGED, revision=after), *session.rows(_GONE, revision=after)]
        return revision, self._decoded(rows)

    def _decoded(self, rows: Iterable[Row]) -> dict[RouteKey, StoredRoute]:
        """By key, of rows with kind, name, request (or nothing if it was removed), revisions."""
        return {
            _key(kind, name): StoredRoute(self._route(kind, name, request), revision, created)
            for kind, name, request, revision, created in rows
        }

    def _route(self, kind: str, name: str, request: str | None) -> Route | None:
        """The route of a row; `None` if it was removed, or doesn't decode."""
        if request is None:
            return None
        try:
            return self._reader.route(kind, request)
        except InputError as error:
            _log.error("the stored route %s:%s can't be served: %s", kind, name, error)
            return None

    def _save(
        self, node: str, step: Iterable[tuple[RouteKey, RouteStatus]], session: Session
    ) -> None:
        session.change(_ADD_NODE, {"id": node, "name": node})
        now = self._clock()
        values = [
            {
                "node_id": node,
                "kind": key.kind.value,
                "name": key.name,
                "state": status.state.value,
                "reason": status.reason,
                "revision": status.revision,
                "updated_at": now,
            }
            for key, status in step
        ]
        session.change(_SAVE_STATUS, *values)


def _key(kind: str, name: str) -> RouteKey:
    return RouteKey(RouteKind(kind), name)
