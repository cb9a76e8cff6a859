"""The flow that the product exists for, by the agent program on real parts."""

from __future__ import annotations

import stat
from pathlib import Path

import httpx
import pymongo
import pytest
from pymongo.errors import PyMongoError

from harness.agent import AgentFailedError
from harness.polling import until
from harness.stack import Stack
from tests.e2e.clients import serial


def test_an_agent_goes_the_whole_way(stack: Stack, mongod_binary: Path) -> None:
    """Register, route, certificates, mongod, renewal, list, remove."""
    agent = stack.agent("whole-way")

    registered = agent.register()
    assert (registered["agentId"], registered["targetIp"]) == ("whole-way", "127.0.0.1")
    assert agent.register()["success"] is True, "repeating it changes nothing"

    origin = stack.origin("whole-way")
    added = agent.http("journey", origin.url, useTls=True)
    assert (added["status"], added["domain"]) == ("active", "journey.apps.example.com")
    assert stack.get("journey").json()["origin"] == "whole-way"

    fetched = agent.program.fetch_certificates()
    certificates = agent.program.certificates
    assert fetched["domain"] == "whole-way.mongodb.example.com"
    assert stat.S_IMODE(certificates.stat().st_mode) == 0o700
    for secret in ("server.key", "mongodb.pem"):
        assert stat.S_IMODE((certificates / secret).stat().st_mode) == 0o600
    assert agent.program.fetch_certificates()["changed"] == [], "a GET never issues a second one"

    mongod = stack.mongod("whole-way")
    before = mongod.config.read_text()
    configured = agent.program.configure(mongod)
    assert configured["changed"] is True
    assert configured["tried"] == str(mongod.trial)
    assert Path(configured["backup"]).read_text() == before
    assert "# A comment that an agent must leave alone." in mongod.config.read_text()
    mongod.start()

    published = agent.mongodb(mongod)
    assert published["status"] == "active"
    with pymongo.MongoClient(
        published["connectionString"],
        tlsCAFile=str(agent.ca_file),
        serverSelectionTimeoutMS=10_000,
    ) as client:
        client.shop.orders.insert_one({"_id": 1, "item": "lamp"})
        assert client.shop.orders.find_one({"_id": 1}) == {"_id": 1, "item": "lamp"}

    routes = {route["type"]: route for route in agent.program.routes()}
    assert set(routes) == {"http", "mongodb"}
    assert routes["http"]["targetUrl"] == origin.url
    assert routes["mongodb"]["targetPort"] == mongod.port

    agent.program.remove("journey")
    assert stack.get("journey").status_code == 404
    agent.program.remove_mongodb()
    with pytest.raises((OSError, EOFError)):
        serial(stack.front.mongo_port, agent.domain, agent.ca_file)
    assert agent.program.routes() == []


def test_a_new_certificate_is_loaded_live(stack: Stack, mongod_binary: Path) -> None:
    """`renew --rotate`: open connections stay, new handshakes show the new serial."""
    agent = stack.agent("rotating")
    agent.register()
    mongod = stack.secured_mongod(agent)
    published = agent.mongodb(mongod)
    old = serial(stack.front.mongo_port, agent.domain, agent.ca_file)

    with pymongo.MongoClient(
        published["connectionString"], tlsCAFile=str(agent.ca_file), maxPoolSize=1
    ) as client:
        connection = client.admin.command("hello")["connectionId"]
        signed = agent.program("certs", "fetch", "--csr", "--force")
        assert int(signed["serial"], 16) != int(old, 16)
        renewed = agent.program.renew("--rotate", f"mongodb://localhost:{mongod.port}")
        assert renewed["rotated"] is True
        assert client.admin.command("hello")["connectionId"] == connection

    now = serial(stack.front.mongo_port, agent.domain, agent.ca_file)
    assert int(now, 16) == int(signed["serial"], 16)


def test_a_token_is_renewed_by_the_key(stack: Stack) -> None:
    """`authenticate` gives a token that works, and the program gets itself a new one."""
    agent = stack.agent("renewing")
    agent.register()
    answer = httpx.post(
        f"{stack.front.api_url}/api/agents/authenticate",
        json={"agentId": "renewing", "agentKey": agent.key},
        trust_env=False,
    )
    assert answer.status_code == 200
    listed = httpx.get(
        f"{stack.front.api_url}/api/proxy/agents/renewing",
        headers={"Authorization": f"Bearer {answer.json()['token']}"},
        trust_env=False,
    )
    assert listed.status_code == 200

    saved = agent.directory / "state" / "token-renewing.json"
    saved.unlink()
    assert agent.program.routes() == []
    assert saved.exists(), "a new token was obtained with the key, and kept"


def test_one_round_of_the_loop_does_all_upkeep(stack: Stack) -> None:
    """`run --once`, as cron would call it, fetches the certificate files."""
    agent = stack.agent("upkeep")
    agent.register()
    done = agent.program("run", "--once")
    assert done["domain"] == agent.domain
    assert agent.ca_file.exists()


def test_the_program_tells_why_it_is_refused(stack: Stack) -> None:
    """Another agent's name ends with exit code 1 and the server's sentence."""
    first, second = stack.agent("namesake1"), stack.agent("namesake2")
    origin = stack.origin("namesake")
    first.register()
    second.register()
    first.http("namesake", origin.url)
    with pytest.raises(AgentFailedError) as refused:
        second.http("namesake", origin.url)
    assert refused.value.code == 1
    assert refused.value.answer["status"] == 409
    assert refused.value.complaint.strip()


def test_a_removed_agent_leaves_nothing(stack: Stack) -> None:
    """DELETE of an agent takes its routes out of HAProxy and revokes its credentials."""
    agent = stack.registered("leaving")
    origin = stack.origin("leaving")
    assert agent.api.http("leaving", origin.url).status_code == 201
    assert stack.get("leaving").status_code == 200
    assert agent.api.client.delete("/api/agents/leaving").is_success
    # A request that is under way when the route goes is cut off.
    until(
        "the route is gone",
        lambda: stack.get("leaving").status_code == 404,
        quiet=(httpx.RemoteProtocolError,),
    )
    assert agent.api.client.get("/api/agents/leaving").status_code == 401


def test_mongo_without_a_route_is_refused(stack: Stack, mongod_binary: Path) -> None:
    """A registered agent without a MongoDB route isn't reachable under its name."""
    agent = stack.registered("routeless")
    agent.program.fetch_certificates()
    with (
        pymongo.MongoClient(
            agent.domain,
            stack.front.mongo_port,
            tls=True,
            tlsCAFile=str(agent.ca_file),
            serverSelectionTimeoutMS=300,
        ) as client,
        pytest.raises(PyMongoError),
    ):
        client.admin.command("ping")
