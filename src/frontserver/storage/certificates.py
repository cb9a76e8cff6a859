"""Certificates, authorities and signing keys as they are stored; keys only sealed."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import delete, insert, select, update

from frontserver.model.names import AgentId
from frontserver.storage.repository import Repository, table_of
from frontserver.storage.statements import Statement
from frontserver.storage.tables import AuthorityRow, CertificateRow, SigningKeyRow


class CertificateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An issued certificate; without `sealed_key` its agent made the key itself."""

    serial: str
    agent_id: AgentId
    authority_id: str
    domain: str
    pem: str
    sealed_key: bytes | None
    not_before: datetime
    not_after: datetime
    fingerprint: str
    created_at: datetime
    revoked_at: datetime | None = None

    def __repr__(self) -> str:
        return f"CertificateRecord(serial={self.serial!r}, agent_id={self.agent_id!r})"


class AuthorityRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate authority; `id` is its certificate's serial."""

    id: str
    pem: str
    sealed_key: bytes
    active: bool
    created_at: datetime


class SigningKeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A key that signs tokens."""

    kid: str
    sealed_secret: bytes
    created_at: datetime


_ADD_CERTIFICATE = Statement(insert(table_of(CertificateRow)))
_ADD_AUTHORITY = Statement(insert(table_of(AuthorityRow)))
_ADD_SIGNING_KEY = Statement(insert(table_of(SigningKeyRow)))


class CertificateRepository(Repository[CertificateRow]):
    """Certificates, in one transaction."""

    model_type = CertificateRow
    id_attribute = "serial"

    def newest(self, agent_id: AgentId) -> CertificateRecord | None:
        """The agent's newest certificate whose key we hold and that isn't revoked."""
        query = (
            select(CertificateRow)
            .where(
                CertificateRow.agent_id == agent_id,
                CertificateRow.revoked_at.is_(None),
                CertificateRow.sealed_key.is_not(None),
            )
            .order_by(CertificateRow.created_at.desc(), CertificateRow.not_after.desc())
            .limit(1)
        )
        row = self.session.scalars(query).one_or_none()
        return None if row is None else _certificate(row)

    def of_agent(self, agent_id: AgentId) -> list[CertificateRecord]:
        """All certificates an agent ever had, oldest first."""
        query = (
            select(CertificateRow)
            .where(CertificateRow.agent_id == agent_id)
            .order_by(CertificateRow.created_at, CertificateRow.serial)
        )
        return [_certificate(row) for row in self.session.scalars(query).all()]

    def put(self, record: CertificateRecord) -> None:
        """Store a certificate that was just issued."""
        self.session.change(_ADD_CERTIFICATE, msgspec.structs.asdict(record))

    def revoke_all(self, agent_id: AgentId, at: datetime) -> None:
        """Revoke what isn't revoked yet of an agent's certificates."""
        self.session.execute(
            update(CertificateRow)
            .where(CertificateRow.agent_id == agent_id, CertificateRow.revoked_at.is_(None))
            .values(revoked_at=at)
        )


class AuthorityRepository(Repository[AuthorityRow]):
    """Certificate authorities, in one transaction."""

    model_type = AuthorityRow

    def active(self) -> list[AuthorityRecord]:
        """The trusted ones, newest first: that one issues."""
        query = (
            select(AuthorityRow)
            .where(AuthorityRow.active)
            .order_by(AuthorityRow.created_at.desc(), AuthorityRow.id)
        )
        return [
            AuthorityRecord(
                id=row.id,
                pem=row.pem,
                sealed_key=row.sealed_key,
                active=row.active,
                created_at=row.created_at,
            )
            for row in self.session.scalars(query).all()
        ]

    def put(self, record: AuthorityRecord) -> None:
        """Store a new authority."""
        self.session.change(_ADD_AUTHORITY, msgspec.structs.asdict(record))


class SigningKeyRepository(Repository[SigningKeyRow]):
    """Signing keys, in one transaction."""

    model_type = SigningKeyRow
    id_attribute = "kid"

    def newest_first(self) -> list[SigningKeyRecord]:
        """All that are stored."""
        query = select(SigningKeyRow).order_by(SigningKeyRow.created_at.desc(), SigningKeyRow.kid)
        return [
            SigningKeyRecord(
                kid=row.kid, sealed_secret=row.sealed_secret, created_at=row.created_at
            )
            for row in self.session.scalars(query).all()
        ]

    def put(self, record: SigningKeyRecord) -> None:
        """Store a new key."""
        self.session.change(_ADD_SIGNING_KEY, msgspec.structs.asdict(record))

    def keep_only(self, kids: list[str]) -> None:
        """Forget every other key."""
        self.session.execute(delete(SigningKeyRow).where(SigningKeyRow.kid.not_in(kids)))


def _certificate(row: CertificateRow) -> CertificateRecord:
    return CertificateRecord(
        serial=row.serial,
        agent_id=AgentId(row.agent_id),
        authority_id=row.authority_id,
        domain=row.domain,
        pem=row.pem,
        sealed_key=row.sealed_key,
        not_before=row.not_before,
        not_after=row.not_after,
        fingerprint=row.fingerprint,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )
