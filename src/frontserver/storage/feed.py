"""The stored routes as a reconciler reads them: all at once, then only what changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice

from sqlalchemy import Row, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from frontserver.errors import InputError
from frontserver.model.routes import RouteKey, RouteKind
from frontserver.model.status import RouteState, RouteStatus
from frontserver.storage.engine import Database
from frontserver.storage.repository import Repository, utc_now
from frontserver.storage.revisions import RevisionRepository
from frontserver.storage.routes import RouteReader, StoredRoute
from frontserver.storage.tables import NodeRow, RemovedRouteRow, RouteRow, RouteStatusRow

_log = logging.getLogger(__name__)

# Rows a step: keeps the event loop free, and statements below SQLite's limit of parameters.
_STEP = 500


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
        async with self._database.read() as session:
            revision = await RevisionRepository(session).latest()
            rows = await _rows(session, after=0)
        routes = await self._decoded(rows)
        return revision, {key: stored for key, stored in routes.items() if stored.route}

    async def changes_since(self, revision: int) -> tuple[int, dict[RouteKey, StoredRoute]]:
        """The newest revision and the routes changed after `revision`, at their cost alone.

        A removed route holds `None`, and so does one that doesn't decode.
        """
        async with self._database.read() as session:
            latest = await RevisionRepository(session).latest()
            rows = await _rows(session, after=revision)
            removed = await session.execute(
                select(RemovedRouteRow.kind, RemovedRouteRow.name, RemovedRouteRow.revision).where(
                    RemovedRouteRow.revision > revision
                )
            )
            gone = {_key(kind, name): StoredRoute(None, at) for kind, name, at in removed.tuples()}
        return latest, gone | await self._decoded(rows)

    async def save_statuses(self, node: str, statuses: Mapping[RouteKey, RouteStatus]) -> None:
        """Remember what became of routes on a node; those that are gone are passed over."""
        pending = iter(statuses.items())
        while step := list(islice(pending, _STEP)):
            async with self._database.write() as session:
                await _add_node(session, node)
                await self._save(session, node, step)

    async def load_statuses(self, node: str) -> dict[RouteKey, RouteStatus]:
        """What was remembered last of a node; health isn't, since it changes by itself."""
        columns = (
            RouteStatusRow.kind,
            RouteStatusRow.name,
            RouteStatusRow.state,
            RouteStatusRow.revision,
            RouteStatusRow.reason,
        )
        async with self._database.read() as session:
            rows = await session.execute(select(*columns).where(RouteStatusRow.node_id == node))
            return {
                _key(kind, name): RouteStatus(RouteState(state), revision, reason)
                for kind, name, state, revision, reason in rows.tuples()
            }

    async def _save(
        self, session: AsyncSession, node: str, step: Iterable[tuple[RouteKey, RouteStatus]]
    ) -> None:
        statuses = {(key.kind.value, key.name): status for key, status in step}
        primary_key = tuple_(RouteRow.kind, RouteRow.name)
        known = await session.execute(
            select(RouteRow.kind, RouteRow.name).where(primary_key.in_(list(statuses)))
        )
        now = self._clock()
        values = [
            {
                "node_id": node,
                "kind": kind,
                "name": name,
                "state": statuses[kind, name].state.value,
                "reason": statuses[kind, name].reason,
                "revision": statuses[kind, name].revision,
                "updated_at": now,
            }
            for kind, name in known.tuples()
        ]
        await _StatusRepository(session).upsert_rows(values)

    async def _decoded(self, rows: Sequence[_RouteRow]) -> dict[RouteKey, StoredRoute]:
        decoded: dict[RouteKey, StoredRoute] = {}
        for count, (kind, name, request, revision) in enumerate(rows, start=1):
            try:
                stored = StoredRoute(self._reader.route(kind, request), revision)
            except InputError as error:
                _log.error("the stored route %s:%s can't be served: %s", kind, name, error)
                stored = StoredRoute(None, revision)
            decoded[_key(kind, name)] = stored
            if count % _STEP == 0:
                await asyncio.sleep(0)
        return decoded


class _StatusRepository(Repository[RouteStatusRow]):
    model_type = RouteStatusRow


_RouteRow = Row[tuple[str, str, str, int]]


async def _rows(session: AsyncSession, *, after: int) -> Sequence[_RouteRow]:
    query = select(RouteRow.kind, RouteRow.name, RouteRow.request, RouteRow.revision)
    if after:
        query = query.where(RouteRow.revision > after)
    return (await session.execute(query)).all()


async def _add_node(session: AsyncSession, node: str) -> None:
    if await session.get(NodeRow, node) is None:
        session.add(NodeRow(id=node, name=node))
        await session.flush()


def _key(kind: str, name: str) -> RouteKey:
    return RouteKey(RouteKind(kind), name)
