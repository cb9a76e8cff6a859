"""The tables. Portable between SQLite and PostgreSQL; migrations follow these, tested for drift."""

from __future__ import annotations

from datetime import datetime

from advanced_alchemy.base import CommonTableAttributes, create_registry
from advanced_alchemy.types import DateTimeUTC
from sqlalchemy import (
    BigInteger,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# Names for constraints that the database would otherwise make up, so that migrations can say them.
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

_LABEL = String(63)
# Of a route: a label, and the path below it (`shop/api`).
_ROUTE_NAME = String(191)
_KIND = String(16)
# In SQLite only INTEGER makes the primary key the row id itself.
_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


class Table(CommonTableAttributes, DeclarativeBase):
    """What all tables share: a registry of their own, and the names of constraints."""

    __abstract__ = True
    registry = create_registry()
    metadata = MetaData(naming_convention=NAMING)


class AgentRow(Table):
    """A registered agent."""

    __tablename__ = "agents"

    agent_id: Mapped[str] = mapped_column(_LABEL, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    target_ip: Mapped[str] = mapped_column(String(45))
    peer_verified: Mapped[bool]
    key_hash: Mapped[str] = mapped_column(Text)
    # Unix seconds: tokens issued before are revoked.
    tokens_valid_after: Mapped[float]
    created_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))


class InvitationRow(Table):
    """A minted key that waits for its agent to register."""

    __tablename__ = "invitations"

    agent_id: Mapped[str] = mapped_column(_LABEL, primary_key=True)
    key_hash: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))


class RevisionRow(Table):
    """A numbered change: who did what to what, and when."""

    __tablename__ = "revisions"

    # Given by us, not by a sequence: sequences leave gaps when a transaction rolls back.
    number: Mapped[int] = mapped_column(_NUMBER, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))
    actor: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(Text, index=True)


class AuditRow(Table):
    """What is worth knowing of a change, without secrets, as JSON; and where it came from."""

    __tablename__ = "audit"

    revision: Mapped[int] = mapped_column(
        _NUMBER, ForeignKey("revisions.number"), primary_key=True, autoincrement=False
    )
    details: Mapped[str] = mapped_column(Text)
    peer: Mapped[str | None] = mapped_column(Text)


class RouteRow(Table):
    """A route as its owner asked for it.

    `revision` is of its last change, `created_revision` of the one with which its owner took the
    name.
    """

    __tablename__ = "routes"

    kind: Mapped[str] = mapped_column(_KIND, primary_key=True)
    name: Mapped[str] = mapped_column(_ROUTE_NAME, primary_key=True)
    agent_id: Mapped[str] = mapped_column(ForeignKey("agents.agent_id"), index=True)
    # The wire request as JSON: the options are kept as they were given.
    request: Mapped[str] = mapped_column(Text)
    revision: Mapped[int] = mapped_column(_NUMBER, ForeignKey("revisions.number"), index=True)
    created_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))
    created_revision: Mapped[int] = mapped_column(_NUMBER, server_default="0")


class RemovedRouteRow(Table):
    """A tombstone, so that a removal is found by its revision. A new route of the name ends it."""

    __tablename__ = "removed_routes"

    kind: Mapped[str] = mapped_column(_KIND, primary_key=True)
    name: Mapped[str] = mapped_column(_ROUTE_NAME, primary_key=True)
    revision: Mapped[int] = mapped_column(_NUMBER, ForeignKey("revisions.number"), index=True)


class NodeRow(Table):
    """One HAProxy."""

    __tablename__ = "nodes"

    id: Mapped[str] = mapped_column(_LABEL, primary_key=True)
    name: Mapped[str] = mapped_column(Text)


class RouteStatusRow(Table):
    """How far a route got on one node."""

    __tablename__ = "route_status"
    __table_args__ = (
        ForeignKeyConstraint(["kind", "name"], ["routes.kind", "routes.name"], ondelete="CASCADE"),
        Index(None, "kind", "name"),
    )

    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(_KIND, primary_key=True)
    name: Mapped[str] = mapped_column(_ROUTE_NAME, primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(Text)
    revision: Mapped[int] = mapped_column(_NUMBER)
    updated_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))


class AuthorityRow(Table):
    """A certificate authority of ours; all active ones are trusted, the newest issues."""

    __tablename__ = "authorities"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    pem: Mapped[str] = mapped_column(Text)
    sealed_key: Mapped[bytes] = mapped_column(LargeBinary)
    active: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))


class CertificateRow(Table):
    """An issued certificate. It outlives its agent, for the list of revoked ones."""

    __tablename__ = "certificates"

    serial: Mapped[str] = mapped_column(String(64), primary_key=True)
    agent_id: Mapped[str] = mapped_column(_LABEL, index=True)
    authority_id: Mapped[str] = mapped_column(ForeignKey("authorities.id"))
    # The domain the certificate is for: its subject's CN.
    domain: Mapped[str] = mapped_column(Text)
    pem: Mapped[str] = mapped_column(Text)
    # Null where the agent made its key itself (CSR).
    sealed_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    not_before: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))
    not_after: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))
    fingerprint: Mapped[str] = mapped_column(String(64))
    revoked_at: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))


class SigningKeyRow(Table):
    """A key that signs tokens, sealed."""

    __tablename__ = "signing_keys"

    kid: Mapped[str] = mapped_column(String(64), primary_key=True)
    sealed_secret: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))
