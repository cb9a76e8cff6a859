"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "agents",
        sa.Column("agent_id", sa.String(length=63), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("target_ip", sa.String(length=45), nullable=False),
        sa.Column("peer_verified", sa.Boolean(), nullable=False),
        sa.Column("key_hash", sa.Text(), nullable=False),
        sa.Column("tokens_valid_after", sa.Float(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("agent_id", name=op.f("pk_agents")),
    )
    op.create_table(
        "authorities",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("pem", sa.Text(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authorities")),
    )
    op.create_table(
        "invitations",
        sa.Column("agent_id", sa.String(length=63), nullable=False),
        sa.Column("key_hash", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("agent_id", name=op.f("pk_invitations")),
    )
    op.create_table(
        "nodes",
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nodes")),
    )
    op.create_table(
        "revisions",
        sa.Column("number", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_revisions")),
    )
    op.create_index(op.f("ix_revisions_subject"), "revisions", ["subject"], unique=False)
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.String(length=64), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_signing_keys")),
    )
    op.create_table(
        "audit",
        sa.Column("revision", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("peer", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["revision"], ["revisions.number"], name=op.f("fk_audit_revision")),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_audit")),
    )
    op.create_table(
        "certificates",
        sa.Column("serial", sa.String(length=64), nullable=False),
        sa.Column("agent_id", sa.String(length=63), nullable=False),
        sa.Column("authority_id", sa.String(length=64), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("pem", sa.Text(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=True),
        sa.Column("not_before", _TIME, nullable=False),
        sa.Column("not_after", _TIME, nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("revoked_at", _TIME, nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["authority_id"], ["authorities.id"], name=op.f("fk_certificates_authority_id")
        ),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_certificates")),
    )
    op.create_index(op.f("ix_certificates_agent_id"), "certificates", ["agent_id"], unique=False)
    op.create_table(
        "removed_routes",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("revision", _NUMBER, nullable=False),
        sa.ForeignKeyConstraint(
            ["revision"], ["revisions.number"], name=op.f("fk_removed_routes_revision")
        ),
        sa.PrimaryKeyConstraint("kind", "name", name=op.f("pk_removed_routes")),
    )
    op.create_index(
        op.f("ix_removed_routes_revision"), "removed_routes", ["revision"], unique=False
    )
    op.create_table(
        "routes",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("agent_id", sa.String(length=63), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("revision", _NUMBER, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.agent_id"], name=op.f("fk_routes_agent_id")),
        sa.ForeignKeyConstraint(
            ["revision"], ["revisions.number"], name=op.f("fk_routes_revision")
        ),
        sa.PrimaryKeyConstraint("kind", "name", name=op.f("pk_routes")),
    )
    op.create_index(op.f("ix_routes_agent_id"), "routes", ["agent_id"], unique=False)
    op.create_index(op.f("ix_routes_revision"), "routes", ["revision"], unique=False)
    op.create_table(
        "route_status",
        sa.Column("node_id", sa.String(length=63), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("revision", _NUMBER, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["kind", "name"],
            ["routes.kind", "routes.name"],
            name=op.f("fk_route_status_kind_name"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_route_status_node_id")),
        sa.PrimaryKeyConstraint("node_id", "kind", "name", name=op.f("pk_route_status")),
    )
    op.create_index(
        op.f("ix_route_status_kind_name"), "route_status", ["kind", "name"], unique=False
    )


def downgrade() -> None:
    """Drop every table."""
    op.drop_index(op.f("ix_route_status_kind_name"), table_name="route_status")
    op.drop_table("route_status")
    op.drop_index(op.f("ix_routes_revision"), table_name="routes")
    op.drop_index(op.f("ix_routes_agent_id"), table_name="routes")
    op.drop_table("routes")
    op.drop_index(op.f("ix_removed_routes_revision"), table_name="removed_routes")
    op.drop_table("removed_routes")
    op.drop_index(op.f("ix_certificates_agent_id"), table_name="certificates")
    op.drop_table("certificates")
    op.drop_table("audit")
    op.drop_table("signing_keys")
    op.drop_index(op.f("ix_revisions_subject"), table_name="revisions")
    op.drop_table("revisions")
    op.drop_table("nodes")
    op.drop_table("invitations")
    op.drop_table("authorities")
    op.drop_table("agents")
