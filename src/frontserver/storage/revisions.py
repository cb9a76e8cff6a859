"""Numbered changes and their audit: every change of the state records one, in its transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import func, insert, select

from frontserver.storage.repository import Repository, table_of
from frontserver.storage.statements import Statement
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


_LATEST = Statement(select(func.max(table_of(RevisionRow).c.number)))
_ADD = Statement(insert(table_of(RevisionRow)))
_ADD_AUDIT = Statement(insert(table_of(AuditRow)))


class RevisionRepository(Repository[RevisionRow]):
    """Revisions, in one transaction. Numbers rise by one in the order of commits."""

    model_type = RevisionRow
    id_attribute = "number"

    def latest(self) -> int:
        """The newest revision's number; 0 before the first change."""
        ((number,),) = self.session.rows(_LATEST)
        return number or 0

    def record(self, change: Change, at: datetime) -> int:
        """Number this change. Gap-free, since there is one writing transaction at a time."""
        return self.record_all([change], at)[0]

    def record_all(self, changes: Sequence[Change], at: datetime) -> range:
        """Number these changes, one at least, in their order."""
        latest = self.session.latest_revision
        first = (self.latest() if latest is None else latest) + 1
        numbers = range(first, first + len(changes))
        numbered = list(zip(numbers, changes, strict=True))
        self.session.change(
            _ADD,
            *(
                {
                    "number": number,
                    "at": at,
                    "actor": change.actor,
                    "action": change.action,
                    "subject": change.subject,
                }
                for number, change in numbered
            ),
        )
        self.session.change(
            _ADD_AUDIT,
            *(
                {
                    "revision": number,
                    "details": msgspec.json.encode(change.details).decode(),
                    "peer": change.peer,
                }
                for number, change in numbered
            ),
        )
        self.session.latest_revision = numbers[-1]
        return numbers

    def since(self, number: int, *, limit: int = 100) -> list[AuditEntry]:
        """What was recorded after a revision, oldest first, at most `limit`."""
        query = (
            select(RevisionRow, AuditRow)
            .join(AuditRow, AuditRow.revision == RevisionRow.number)
            .where(RevisionRow.number > number)
            .order_by(RevisionRow.number)
            .limit(limit)
        )
        return [_entry(revision, audit) for revision, audit in self.session.execute(query).tuples()]


def _entry(revision: RevisionRow, audit: AuditRow) -> AuditEntry:
    change = Change(
        actor=revision.actor,
        action=revision.action,
        subject=revision.subject,
        peer=audit.peer,
        details=msgspec.json.decode(audit.details),
    )
    return AuditEntry(number=revision.number, at=revision.at, change=change)
