"""Registration by policy, credentials, rotation, invitation, removal."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from frontserver.errors import (
    AuthenticationError,
    ConflictError,
    InputError,
    NotFoundError,
    PermissionDeniedError,
    TooManyRequestsError,
)
from frontserver.model.names import AgentId
from frontserver.model.routes import RouteKey, RouteKind
from frontserver.security.principals import OPERATOR
from frontserver.services.agents import Enrolment, Registration
from frontserver.storage.certificates import CertificateRepository
from frontserver.storage.engine import Database
from frontserver.wire.agents import AuthenticateRequest, RegisterRequest
from tests.unit.services.house import ADMIN_TOKEN, AGENT, KEY, OTHER, PEER, SELF, House

WRONG = "some other key entirely"


async def register(house: House, agent_id: str = AGENT, key: str = KEY) -> Registration:
    return await house.agents.register(RegisterRequest(agent_id, key), peer=PEER)


async def token_of(house: House, key: str = KEY) -> str:
    issued = await house.agents.authenticate(AuthenticateRequest(AGENT, key), peer=PEER)
    return issued.token


async def test_registering_gives_a_token_and_certificates(house: House) -> None:
    done = await register(house)
    assert done.created
    assert done.certificates.key is not None
    assert "BEGIN PRIVATE KEY" in done.certificates.key
    assert await house.agents.principal_from_token(done.token) == SELF
    assert done.expires_at > house.clock()


async def test_defaults_are_the_callers_address_and_the_id_as_name(house: House) -> None:
    agent = (await register(house)).agent
    assert (agent.name, agent.target_ip, agent.peer_verified) == ("host-7", PEER, True)


@pytest.mark.parametrize(
    ("claimed", "peer", "stored", "verified"),
    [
        ("198.51.100.1", PEER, "198.51.100.1", False),
        (PEER, PEER, PEER, True),
        ("::ffff:203.0.113.7", PEER, PEER, True),
        (None, "::ffff:203.0.113.7", PEER, True),
        ("", PEER, PEER, True),
        ("2001:DB8::1", "2001:db8:0::1", "2001:db8::1", True),
        ("198.51.100.1", "a unix socket", "198.51.100.1", False),
    ],
)
async def test_an_address_is_verified_only_if_the_agent_called_from_it(
    house: House, claimed: str | None, peer: str, stored: str, verified: bool
) -> None:
    request = RegisterRequest(AGENT, KEY, target_ip=claimed)
    agent = (await house.agents.register(request, peer=peer)).agent
    assert (agent.target_ip, agent.peer_verified) == (stored, verified)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (RegisterRequest("no dots.here", KEY), "agentId"),
        (RegisterRequest(AGENT, "short"), "agentKey"),
        (RegisterRequest(AGENT, KEY, agent_name="a\nb"), "agentName"),
        (RegisterRequest(AGENT, KEY, agent_name="x" * 129), "agentName"),
        (RegisterRequest(AGENT, KEY, target_ip="host.example.com"), "targetIp"),
        (RegisterRequest(AGENT, KEY, target_ip="fe80::1%eth0"), "targetIp"),
    ],
)
async def test_bad_values_are_refused_by_field(
    house: House, request_: RegisterRequest, field: str
) -> None:
    with pytest.raises(InputError) as caught:
        await house.agents.register(request_, peer=PEER)
    assert caught.value.field == field
    assert await house.actions() == []


async def test_a_caller_without_an_address_must_give_one(house: House) -> None:
    with pytest.raises(InputError, match="give one"):
        await house.agents.register(RegisterRequest(AGENT, KEY), peer="")


async def test_the_same_registration_again_changes_nothing(house: House) -> None:
    first = await register(house)
    house.clock.pass_by(hours=1)
    again = await register(house)
    assert not again.created
    assert again.agent == first.agent
    assert again.certificates == first.certificates
    assert await house.actions() == ["agent.register", "certificate.issue"]


async def test_registering_again_updates_name_and_address(house: House) -> None:
    await register(house)
    house.clock.pass_by(hours=1)
    request = RegisterRequest(AGENT, KEY, agent_name="Shop", target_ip="198.51.100.1")
    agent = (await house.agents.register(request, peer=PEER)).agent
    assert (agent.name, agent.target_ip, agent.peer_verified) == ("Shop", "198.51.100.1", False)
    assert agent.updated_at > agent.created_at
    kept = await house.agents.register(RegisterRequest(AGENT, KEY), peer=PEER)
    assert kept.agent.name == "Shop"


async def test_an_id_is_the_same_in_any_case(house: House) -> None:
    await register(house, "HOST-7")
    assert not (await register(house, "host-7")).created


@pytest.mark.parametrize(
    ("enrolment", "error"),
    [("open", ConflictError), ("invite", AuthenticationError), ("closed", AuthenticationError)],
)
async def test_another_key_for_a_known_agent_is_refused(
    database: Database, house: House, enrolment: Enrolment, error: type[Exception]
) -> None:
    await register(house)
    strict = House(database, enrolment=enrolment)
    with pytest.raises(error):
        await register(strict, key=WRONG)
    assert not (await register(strict)).created


async def test_under_invite_only_the_invited_key_registers_and_only_its_agent(
    database: Database, house: House
) -> None:
    strict = House(database, enrolment="invite")
    key = await strict.agents.invite(AGENT)
    for agent_id, tried in ((AGENT, WRONG), (OTHER, key)):
        with pytest.raises(AuthenticationError):
            await register(strict, agent_id, tried)
    assert (await register(strict, key=key)).created
    assert not (await register(strict, key=key)).created
    assert await strict.actions() == ["agent.invite", "agent.register", "certificate.issue"]


async def test_an_invitation_is_used_up(database: Database, house: House) -> None:
    strict = House(database, enrolment="invite")
    key = await strict.agents.invite(AGENT)
    await register(strict, key=key)
    await strict.agents.remove(AGENT, OPERATOR, peer=PEER)
    with pytest.raises(AuthenticationError):
        await register(strict, key=key)


async def test_a_new_invitation_ends_the_one_before(database: Database, house: House) -> None:
    strict = House(database, enrolment="invite")
    old, new = await strict.agents.invite(AGENT), await strict.agents.invite(AGENT)
    with pytest.raises(AuthenticationError):
        await register(strict, key=old)
    assert (await register(strict, key=new)).created


async def test_an_invitation_keeps_strangers_off_even_under_open(house: House) -> None:
    key = await house.agents.invite(AGENT)
    with pytest.raises(ConflictError):
        await register(house, key=WRONG)
    assert (await register(house, key=key)).created


async def test_a_registered_agent_is_not_invited(house: House) -> None:
    await house.join()
    with pytest.raises(ConflictError):
        await house.agents.invite(AGENT)


async def test_under_closed_nobody_new_registers_not_even_invited(
    database: Database, house: House
) -> None:
    closed = House(database, enrolment="closed")
    key = await house.agents.invite(AGENT)
    with pytest.raises(AuthenticationError):
        await register(closed, key=key)


async def test_of_two_strangers_for_one_id_one_gets_it(house: House) -> None:
    keys = [f"the key of stranger {number}" for number in range(4)]
    results = await asyncio.gather(
        *(register(house, key=key) for key in keys), return_exceptions=True
    )
    assert sum(isinstance(result, Registration) for result in results) == 1
    assert sum(isinstance(result, ConflictError) for result in results) == 3
    assert (await house.actions()).count("agent.register") == 1


async def test_the_same_agent_registering_at_once_is_one_agent(house: House) -> None:
    results = await asyncio.gather(*(register(house) for _ in range(4)))
    assert sum(result.created for result in results) == 1
    assert len({result.certificates.serial for result in results}) == 1


async def test_an_unknown_agent_costs_as_much_as_a_wrong_key(house: House) -> None:
    await house.join()
    costs = []
    for agent_id in (AGENT, OTHER):
        before = house.hasher.verified
        with pytest.raises(AuthenticationError) as caught:
            await house.agents.authenticate(AuthenticateRequest(agent_id, WRONG), peer=PEER)
        costs.append((house.hasher.verified - before, str(caught.value)))
    assert costs[0] == costs[1]
    assert costs[0][0] == 1


async def test_too_many_wrong_keys_are_slowed_down(house: House) -> None:
    await house.join()
    for _ in range(10):
        with pytest.raises(AuthenticationError):
            await token_of(house, WRONG)
    with pytest.raises(TooManyRequestsError):
        await token_of(house)
    with pytest.raises(TooManyRequestsError):
        await register(house)
    house.clock.pass_by(hours=1)
    assert await token_of(house)


async def test_basic_credentials_are_hashed_once_in_a_while(house: House) -> None:
    await house.join()
    before = house.hasher.verified
    for _ in range(3):
        principal = await house.agents.principal_from_basic("HOST-7", KEY, peer=PEER)
        assert principal == SELF
    assert house.hasher.verified == before + 1


@pytest.mark.parametrize(
    ("agent_id", "key"), [(AGENT, WRONG), (OTHER, KEY), ("no id!", KEY), (AGENT, "")]
)
async def test_wrong_basic_credentials_are_refused(house: House, agent_id: str, key: str) -> None:
    await house.join()
    with pytest.raises(AuthenticationError):
        await house.agents.principal_from_basic(agent_id, key, peer=PEER)


async def test_the_operators_token_is_the_operator(house: House) -> None:
    assert await house.agents.principal_from_token(ADMIN_TOKEN) == OPERATOR


async def test_a_token_that_isnt_ours_is_refused(house: House) -> None:
    with pytest.raises(AuthenticationError):
        await house.agents.principal_from_token("x.y.z")


async def test_rotation_ends_the_old_key_and_the_tokens_before(house: House) -> None:
    await house.join()
    old = await token_of(house)
    await house.agents.principal_from_basic(AGENT, KEY, peer=PEER)
    house.clock.pass_by(seconds=1)
    await house.agents.rotate_key(AGENT, WRONG, SELF, peer=PEER)
    with pytest.raises(AuthenticationError, match="revoked"):
        await house.agents.principal_from_token(old)
    with pytest.raises(AuthenticationError):
        await house.agents.principal_from_basic(AGENT, KEY, peer=PEER)
    new = await token_of(house, WRONG)
    assert await house.agents.principal_from_token(new) == SELF
    assert (await house.audit())[-1].change.action == "agent.rotate-key"


async def test_only_the_agent_and_operators_rotate_and_remove(house: House) -> None:
    await house.join()
    other = await house.join(OTHER)
    with pytest.raises(PermissionDeniedError):
        await house.agents.rotate_key(AGENT, WRONG, other, peer=PEER)
    with pytest.raises(PermissionDeniedError):
        await house.agents.remove(AGENT, other, peer=PEER)
    await house.agents.rotate_key(AGENT, WRONG, OPERATOR, peer=PEER)


async def test_a_short_new_key_is_refused(house: House) -> None:
    await house.join()
    with pytest.raises(InputError):
        await house.agents.rotate_key(AGENT, "short", SELF, peer=PEER)


async def test_removal_takes_routes_tokens_and_certificates_in_one_revision(
    house: House,
) -> None:
    await house.join()
    token = await token_of(house)
    await house.publish("shop")
    await house.publish("blog")
    before, _ = await house.store.snapshot()
    woken = house.publisher.woken
    await house.agents.remove(AGENT, SELF, peer=PEER)
    revision, changes = await house.store.changes_since(before)
    assert revision == before + 1
    assert {key.name: stored.route for key, stored in changes.items()} == {
        "shop": None,
        "blog": None,
    }
    assert house.publisher.woken > woken
    with pytest.raises(AuthenticationError):
        await house.agents.principal_from_token(token)
    certificates = await house.database.read(
        lambda session: CertificateRepository(session).of_agent(AGENT)
    )
    assert [certificate.revoked_at for certificate in certificates] == [house.clock()]
    with pytest.raises(NotFoundError):
        await house.agents.show(AGENT)
    assert (await house.audit())[-1].change.details == {"routes": ["http:blog", "http:shop"]}


async def test_who_takes_the_id_of_a_removed_agent_gets_nothing_of_it(house: House) -> None:
    first = await register(house)
    house.clock.pass_by(seconds=1)
    await house.agents.remove(AGENT, SELF, peer=PEER)
    second = await register(house, key=WRONG)
    assert second.created
    assert second.certificates.serial != first.certificates.serial
    with pytest.raises(AuthenticationError):
        await house.agents.principal_from_token(first.token)


async def test_an_unknown_agent_isnt_found(house: House) -> None:
    nobody = AgentId("nobody")
    with pytest.raises(NotFoundError):
        await house.agents.show(nobody)
    with pytest.raises(NotFoundError):
        await house.agents.remove(nobody, OPERATOR, peer=PEER)
    with pytest.raises(NotFoundError):
        await house.agents.rotate_key(nobody, KEY, OPERATOR, peer=PEER)


async def test_an_agent_is_shown_with_its_routes(house: House) -> None:
    await house.join()
    await house.publish("shop")
    view = await house.agents.show(AGENT)
    assert (view.agent_id, view.created_at) == ("host-7", "2030-01-02T03:04:05Z")
    assert [route.subdomain for route in view.routes] == ["shop"]
    assert msgspec.json.decode(msgspec.json.encode(view))["routes"][0]["agentId"] == "host-7"
    assert house.publisher.statuses[RouteKey(RouteKind.HTTP, "shop")].revision == 3


async def test_no_secret_is_in_the_audit_or_in_a_record_as_text(house: House) -> None:
    done = await register(house)
    invited = await house.agents.invite(OTHER)
    await house.agents.rotate_key(AGENT, WRONG, SELF, peer=PEER)
    written = str(await house.audit()) + repr(done.agent)
    secrets = (KEY, WRONG, invited, done.token, done.agent.key_hash, "PRIVATE")
    assert [secret for secret in secrets if secret in written] == []
