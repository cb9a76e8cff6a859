"""A route knows the revision at which its name was taken, so that later owners can be told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Of routes that are there it isn't known: their last change is on the safe side."""
    column = sa.Column("created_revision", _NUMBER, nullable=False, server_default="0")
    op.add_column("routes", column)
    op.execute("UPDATE routes SET created_revision = revision")


def downgrade() -> None:
    """Forget it."""
    op.drop_column("routes", "created_revision")
