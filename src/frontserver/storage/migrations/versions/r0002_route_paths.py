"""Names of routes may hold a path: a label, and up to 128 characters below it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TABLES = ("routes", "removed_routes", "route_status")
_LABEL = sa.String(length=63)
_NAME = sa.String(length=191)


def upgrade() -> None:
    """Widen the names."""
    _retype(_LABEL, _NAME)


def downgrade() -> None:
    """Narrow the names again; routes below a path must be gone by then."""
    _retype(_NAME, _LABEL)


def _retype(before: sa.String, after: sa.String) -> None:
    # SQLite copies a table to change it, and a status goes with the table of its route.
    op.execute("CREATE TEMPORARY TABLE kept_status AS SELECT * FROM route_status")
    for table in _TABLES:
        with op.batch_alter_table(table) as batch:
            batch.alter_column("name", existing_type=before, type_=after, existing_nullable=False)
    op.execute("DELETE FROM route_status")
    op.execute("INSERT INTO route_status SELECT * FROM kept_status")
    op.execute("DROP TABLE kept_status")
