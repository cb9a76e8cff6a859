"""What is made once and found again: the authority and the signing keys."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from frontserver.errors import CertificateError
from frontserver.pki.leaf import load_certificate
from frontserver.pki.sealing import MasterKey
from frontserver.security.tokens import SigningKey
from frontserver.services.installation import (
    SIGNING_KEY_LIFE,
    TrustAnchor,
    load_authority,
    load_signing_keys,
)
from frontserver.storage.certificates import AuthorityRepository, SigningKeyRepository
from frontserver.storage.engine import Database
from frontserver.storage.revisions import RevisionRepository
from tests.unit.services.fakes import START

MASTER = MasterKey(b"m" * 32)
TTL = timedelta(days=1)


async def authority(database: Database, master: MasterKey = MASTER) -> TrustAnchor:
    return await load_authority(database, master, installation="Example", key_type="ec", now=START)


async def signing_keys(database: Database, days: int = 0) -> tuple[SigningKey, ...]:
    return await load_signing_keys(database, MASTER, now=START + timedelta(days=days), ttl=TTL)


async def test_the_authority_is_made_once(database: Database) -> None:
    anchors = await asyncio.gather(*(authority(database) for _ in range(3)))
    anchors.append(await authority(database))
    assert len({anchor.bundle_pem for anchor in anchors}) == 1
    first = anchors[0]
    assert load_certificate(first.bundle_pem) == first.issuer.certificate
    records = await database.read(lambda session: AuthorityRepository(session).active())
    assert await database.read(lambda session: RevisionRepository(session).latest()) == 1
    assert [record.id for record in records] == [first.id]
    assert b"PRIVATE" not in records[0].sealed_key


async def test_with_another_master_key_the_authority_doesnt_open(database: Database) -> None:
    await authority(database)
    with pytest.raises(CertificateError, match="master key"):
        await authority(database, MasterKey(b"x" * 32))


async def test_a_signing_key_is_made_once(database: Database) -> None:
    sets = await asyncio.gather(*(signing_keys(database) for _ in range(3)))
    assert len(set(sets)) == 1
    assert len(sets[0]) == 1
    assert await signing_keys(database, days=29) == sets[0]
    record, *_ = await database.read(lambda session: SigningKeyRepository(session).newest_first())
    assert sets[0][0].secret not in record.sealed_secret


async def test_an_old_signing_key_is_replaced_and_verifies_a_while_longer(
    database: Database,
) -> None:
    first = (await signing_keys(database))[0]
    days = SIGNING_KEY_LIFE.days
    second = await signing_keys(database, days=days)
    assert second[1:] == (first,)
    assert second[0] != first
    third = await signing_keys(database, days=2 * days)
    assert third[1:] == (second[0],)
    stored = await database.read(lambda session: SigningKeyRepository(session).newest_first())
    assert [record.kid for record in stored] == [key.kid for key in third]
