"""What an installation makes once and keeps: its certificate authority and token signing keys."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import msgspec

from frontserver.model.names import AgentId
from frontserver.pki.authority import CertificateAuthority
from frontserver.pki.keys import KeyType
from frontserver.pki.leaf import serial_hex
from frontserver.pki.sealing import MasterKey
from frontserver.security.principals import SYSTEM
from frontserver.security.tokens import SigningKey, rotate
from frontserver.storage.certificates import (
    AuthorityRecord,
    AuthorityRepository,
    SigningKeyRecord,
    SigningKeyRepository,
)
from frontserver.storage.engine import Database
from frontserver.storage.revisions import Change, RevisionRepository
from frontserver.storage.session import Session

# How long a key signs before a start of the control plane replaces it.
SIGNING_KEY_LIFE = timedelta(days=30)


class TrustAnchor(msgspec.Struct, frozen=True):
    """The CA that issues, and the PEM bundle of all CAs to trust while a rotation overlaps."""

    issuer: CertificateAuthority
    bundle_pem: str

    @property
    def id(self) -> str:
        """The issuer's serial, under which it is stored."""
        return serial_hex(self.issuer.certificate)


def leaf_context(agent_id: AgentId, serial: str) -> str:
    """What a sealed leaf key is bound to."""
    return f"key of certificate {serial} of {agent_id}"


async def load_authority(
    database: Database,
    master_key: MasterKey,
    *,
    installation: str,
    key_type: KeyType,
    now: datetime,
) -> TrustAnchor:
    """The stored CA; on first start it is made. Raises `StorageError` or `CertificateError`."""
    records = await database.read(lambda session: AuthorityRepository(session).active())
    if not records:
        made = await asyncio.to_thread(
            CertificateAuthority.create, installation, key_type=key_type, now=now
        )
        records = await _first_authority(database, _sealed(made, master_key, now), now)
    key = master_key.open(records[0].sealed_key, context=_authority_context(records[0].id))
    issuer = CertificateAuthority.from_pem(records[0].pem, key)
    return TrustAnchor(issuer, "".join(record.pem for record in records))


async def _first_authority(
    database: Database, record: AuthorityRecord, now: datetime
) -> list[AuthorityRecord]:
    def work(session: Session) -> list[AuthorityRecord]:
        authorities = AuthorityRepository(session)
        # Another process may have been first: then its CA counts.
        if not authorities.active():
            change = Change(actor=SYSTEM.name, action="authority.create", subject=record.id)
            RevisionRepository(session).record(change, now)
            authorities.put(record)
        return authorities.active()

    return await database.write(work)


def _sealed(made: CertificateAuthority, master_key: MasterKey, now: datetime) -> AuthorityRecord:
    serial = serial_hex(made.certificate)
    return AuthorityRecord(
        id=serial,
        pem=made.certificate_pem,
        sealed_key=master_key.seal(made.key_pem(), context=_authority_context(serial)),
        active=True,
        created_at=now,
    )


def _authority_context(serial: str) -> str:
    return f"key of the certificate authority {serial}"


async def load_signing_keys(
    database: Database, master_key: MasterKey, *, now: datetime, ttl: timedelta
) -> tuple[SigningKey, ...]:
    """The keys that sign tokens, newest first; one is made where there is none, or a new one.

    `ttl` is how long tokens live: keys whose last tokens have expired are left out. Raises
    `StorageError`, or `CertificateError` if the master key isn't the one they were sealed with.
    """
    records = await database.read(lambda session: SigningKeyRepository(session).newest_first())
    keys = _opened(records, master_key)
    if keys and keys[0].created_at + SIGNING_KEY_LIFE > now:
        return keys

    def work(session: Session) -> tuple[SigningKey, ...]:
        stored = SigningKeyRepository(session)
        # Another process may have been first: then its key counts.
        keys = _opened(stored.newest_first(), master_key)
        if keys and keys[0].created_at + SIGNING_KEY_LIFE > now:
            return keys
        rotated = rotate(keys, now, ttl=ttl)
        newest = rotated[0]
        change = Change(actor=SYSTEM.name, action="signing-key.create", subject=newest.kid)
        RevisionRepository(session).record(change, now)
        sealed = master_key.seal(newest.secret, context=_signing_context(newest.kid))
        stored.put(
            SigningKeyRecord(kid=newest.kid, sealed_secret=sealed, created_at=newest.created_at)
        )
        stored.keep_only([key.kid for key in rotated])
        return rotated

    return await database.write(work)


def _opened(records: list[SigningKeyRecord], master_key: MasterKey) -> tuple[SigningKey, ...]:
    return tuple(
        SigningKey(
            record.kid,
            master_key.open(record.sealed_secret, context=_signing_context(record.kid)),
            record.created_at,
        )
        for record in records
    )


def _signing_context(kid: str) -> str:
    return f"signing key {kid}"
