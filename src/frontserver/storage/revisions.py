"""Numbered changes and their audit: every change of the state records one, in its transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import func, insert, select

from frontserver.storage.repository import Repository
from frontserver.storage.tables import AuditRow, RevisionRow


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What the audit keeps of a change. `details` must hold no secret and be JSON.

    `action` is `subject kind.verb`, such as `route.publish`; `peer` is the caller's address.
    """

    actor: str
    action: str
    subject: str
    peer: str | None = None
    details: dict[str, Any] = {}


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded change."""

    number: int
    at: datetime
    change: Change


class RevisionRepository(Repository[RevisionRow]):
    """Revisions, in one transaction. Numbers rise by one in the order of commits."""

    model_type = RevisionRow
    id_attribute = "number"

    async def latest(self) -> int:
        """The newest revision's number; 0 before the first change."""
        return (await self.session.execute(select(func.max(RevisionRow.number)))).scalar() or 0

    async def record(self, change: Change, at: datetime) -> int:
        """Number this change. Gap-free, since there is one writing transaction at a time."""
        number = await self.latest() + 1
        revision = {
            "number": number,
            "at": at,
            "actor": change.actor,
            "action": change.action,
            "subject": change.subject,
        }
        await self.session.execute(insert(RevisionRow), [revision])
        details = msgspec.json.encode(change.details).decode()
        audit = {"revision": number, "details": details, "peer": change.peer}
        await self.session.execute(insert(AuditRow), [audit])
        return number

    async def since(self, number: int, *, limit: int = 100) -> list[AuditEntry]:
        """What was recorded after a revision, oldest first, at most `limit`."""
        query = (
            select(RevisionRow, AuditRow)
            .join(AuditRow, AuditRow.revision == RevisionRow.number)
            .where(RevisionRow.number > number)
            .order_by(RevisionRow.number)
            .limit(limit)
        )
        return [
            _entry(revision, audit)
            for revision, audit in (await self.session.execute(query)).tuples()
        ]


def _entry(revision: RevisionRow, audit: AuditRow) -> AuditEntry:
    change = Change(
        actor=revision.actor,
        action=revision.action,
        subject=revision.subject,
        peer=audit.peer,
        details=msgspec.json.decode(audit.details),
    )
    return AuditEntry(number=revision.number, at=revision.at, change=change)
