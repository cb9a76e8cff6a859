"""Certificates: one for all callers until renewal is due, and only for verified names."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from frontserver.errors import CertificateError, InputError, NotFoundError
from frontserver.model.names import AgentId
from frontserver.pki.authority import CertificateAuthority
from frontserver.pki.bundles import check_key, host_names, verify_leaf
from frontserver.pki.leaf import load_certificate
from frontserver.pki.sealing import MasterKey
from frontserver.security.principals import OPERATOR
from frontserver.services.certificates import CertificateService
from frontserver.storage.certificates import CertificateRecord, CertificateRepository
from frontserver.storage.engine import Database
from frontserver.wire.agents import RegisterRequest
from frontserver.wire.routes.requests import MongoRouteRequest
from tests.unit.services.fakes import START
from tests.unit.services.house import AGENT, KEY, OTHER, PEER, SELF, House


async def stored(database: Database, agent_id: AgentId = AGENT) -> list[CertificateRecord]:
    return await database.read(lambda session: CertificateRepository(session).of_agent(agent_id))


def request_pem(key: ec.EllipticCurvePrivateKey | None = None) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "anything")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    csr = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.PEM).decode()


async def test_a_bundle_is_a_leaf_its_key_and_the_ca(house: House) -> None:
    await house.join()
    bundle = await house.certificates.bundle(AGENT)
    assert bundle.key is not None
    verify_leaf(bundle.cert, bundle.ca, house.clock())
    check_key(bundle.cert, bundle.key)
    assert (bundle.ca, bundle.cert, bundle.key) == (
        bundle.ca_cert,
        bundle.server_cert,
        bundle.server_key,
    )
    assert bundle.ca == await house.certificates.ca_pem()
    assert bundle.not_after == "2030-04-02T03:04:05Z"
    leaf = load_certificate(bundle.cert)
    assert leaf.subject.rfc4514_string() == "CN=host-7.mongodb.example.com,OU=host-7,O=Example"


async def test_every_call_gives_the_same_certificate(house: House) -> None:
    await house.join()
    bundles = await asyncio.gather(*(house.certificates.bundle(AGENT) for _ in range(5)))
    house.clock.pass_by(days=59)
    assert {bundle.serial for bundle in (*bundles, await house.certificates.bundle(AGENT))} == {
        bundles[0].serial
    }
    assert len(await stored(house.database)) == 1


async def test_concurrent_callers_get_one_even_from_two_processes(
    database: Database, house: House
) -> None:
    await house.join()
    await database.write(lambda session: CertificateRepository(session).revoke_all(AGENT, START))
    services = [house.certificates, House(database).certificates]
    bundles = await asyncio.gather(
        *(service.bundle(AGENT) for service in services for _ in range(4))
    )
    assert len({(bundle.serial, bundle.key) for bundle in bundles}) == 1
    assert len(await stored(database)) == 2


async def test_when_two_thirds_of_its_life_are_over_it_is_renewed_once(house: House) -> None:
    await house.join()
    first = await house.certificates.bundle(AGENT)
    house.clock.pass_by(days=60, minutes=1)
    second = await house.certificates.bundle(AGENT)
    assert second.serial != first.serial
    assert second == await house.certificates.bundle(AGENT)
    # The one before is in use until the agent has fetched the new one.
    assert [record.revoked_at for record in await stored(house.database)] == [None, None]


async def test_another_authority_or_domain_means_another_certificate(
    database: Database, house: House
) -> None:
    await house.join()
    first = await house.certificates.bundle(AGENT)
    authority = CertificateAuthority.create("Example", key_type="ec", now=START)
    rotated = House(database, authority=authority, clock=house.clock)
    await rotated.prepare()
    second = await rotated.certificates.bundle(AGENT)
    verify_leaf(second.cert, second.ca, START)
    assert second.serial != first.serial
    moved = CertificateService(
        database,
        rotated.master_key,
        rotated.anchor,
        installation="Example",
        app_domain="apps.example.com",
        mongo_domain="db.example.org",
        key_type="ec",
        clock=house.clock,
    )
    third = await moved.bundle(AGENT)
    assert "host-7.db.example.org" in host_names(load_certificate(third.cert))


@pytest.mark.parametrize(
    ("claimed", "expected"), [(None, [PEER]), (PEER, [PEER]), ("198.51.100.1", [])]
)
async def test_only_a_verified_address_is_certified(
    house: House, claimed: str | None, expected: list[str]
) -> None:
    request = RegisterRequest(AGENT, KEY, target_ip=claimed)
    done = await house.agents.register(request, peer=PEER)
    names = host_names(load_certificate(done.certificates.cert))
    assert sorted(names) == sorted(
        ["host-7.mongodb.example.com", "localhost", "127.0.0.1", *expected]
    )


async def test_keys_are_sealed_for_their_agent_and_certificate(
    database: Database, house: House
) -> None:
    await house.join()
    record = (await stored(database))[0]
    assert record.sealed_key is not None
    assert b"PRIVATE" not in record.sealed_key
    other = House(database, clock=house.clock)
    other.certificates._master_key = MasterKey(b"x" * 32)
    with pytest.raises(CertificateError, match="master key"):
        await other.certificates.bundle(AGENT)


async def test_the_configuration_comes_before_any_route(house: House) -> None:
    await house.join()
    config = await house.certificates.config(AGENT)
    shown = msgspec.json.decode(msgspec.json.encode(config))
    assert shown["domains"] == {
        "app": "apps.example.com",
        "mongodb": "host-7.mongodb.example.com",
    }
    assert shown["mongodb"]["net"] == {
        "port": 27017,
        "tls": {
            "mode": "requireTLS",
            "certificateKeyFile": "/etc/ssl/frontserver/mongodb.pem",
            "CAFile": "/etc/ssl/frontserver/ca.crt",
            "allowConnectionsWithoutCertificates": True,
        },
    }
    assert config.certificates == await house.certificates.bundle(AGENT)


async def test_the_configuration_follows_the_routes_port(house: House) -> None:
    await house.join()
    request = MongoRouteRequest(AGENT, target_port=27020)
    await house.routes.publish_mongodb(request, SELF, peer=PEER, wait=0)
    assert (await house.certificates.config(AGENT)).mongodb.net.port == 27020


async def test_a_request_is_signed_and_its_key_stays_away(house: House) -> None:
    await house.join()
    before = await house.certificates.bundle(AGENT)
    key = ec.generate_private_key(ec.SECP256R1())
    signed = await house.certificates.sign(AGENT, request_pem(key))
    assert (signed.key, signed.server_key) == (None, None)
    verify_leaf(signed.cert, signed.ca, house.clock())
    assert load_certificate(signed.cert).public_key() == key.public_key()
    assert await house.certificates.bundle(AGENT) == before
    assert [record.sealed_key is None for record in await stored(house.database)].count(True) == 1


@pytest.mark.parametrize("text", ["", "no pem", "-----BEGIN CERTIFICATE REQUEST-----\n"])
async def test_what_is_no_request_is_bad_input(house: House, text: str) -> None:
    await house.join()
    with pytest.raises(InputError) as caught:
        await house.certificates.sign(AGENT, text)
    assert caught.value.field == "csr"


async def test_strangers_get_nothing(house: House) -> None:
    for call in (house.certificates.bundle, house.certificates.config):
        with pytest.raises(NotFoundError):
            await call(OTHER)
    with pytest.raises(NotFoundError):
        await house.certificates.sign(OTHER, request_pem())


async def test_an_agent_removed_meanwhile_gets_no_certificate(house: House) -> None:
    await house.join()
    house.clock.pass_by(days=70)
    under_way = asyncio.create_task(house.certificates.bundle(AGENT))
    # Wait until the certificate is being made, which is after its agent was looked up.
    async with house.certificates._issuing:
        while not house.certificates._issuing._waiters:
            await asyncio.sleep(0)
        await house.agents.remove(AGENT, OPERATOR, peer=PEER)
    with pytest.raises(NotFoundError):
        await under_way
    assert len(await stored(house.database)) == 1


async def test_each_issue_is_in_the_audit(house: House) -> None:
    await house.join()
    bundle = await house.certificates.bundle(AGENT)
    change = (await house.audit())[-1].change
    assert (change.action, change.subject) == ("certificate.issue", "host-7")
    assert change.details == {"serial": bundle.serial, "notAfter": bundle.not_after}
