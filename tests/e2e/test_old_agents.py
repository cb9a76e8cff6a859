"""Agents in the field: their requests verbatim, and every member that they read."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.stack import Stack

SERVER_ID = "SERVER-7f"
AGENT_TOKEN = "an-old-agents-token-0123456789"


@pytest.fixture(scope="module")
def wire(stack: Stack) -> Iterator[httpx.Client]:
    """Bare HTTP, with the headers that old agents send."""
    with httpx.Client(base_url=stack.front.api_url, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def token(wire: httpx.Client) -> str:
    """They stop if `register` answers without it."""
    answer = wire.post(
        "/api/agent/register",
        content=(
            f'{{"agentId":"{SERVER_ID}","agentKey":"{AGENT_TOKEN}",'
            '"agentName":"host-7","targetIp":"203.0.113.7"}'
        ),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code in {200, 201}, answer.text
    body = answer.json()
    assert body["success"] is True
    assert body["agentName"] == "host-7"
    assert body["targetIp"] == "203.0.113.7"
    assert {"message", "agentId", "expiresAt", "tlsEnabled", "certificates"} <= body.keys()
    assert isinstance(body["token"], str)
    return str(body["token"])


@pytest.fixture(scope="module")
def headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


def post(wire: httpx.Client, path: str, body: str, headers: dict[str, str]) -> dict[str, Any]:
    answer = wire.post(path, content=body, headers=headers)
    assert answer.status_code in {200, 201}, answer.text
    found: dict[str, Any] = answer.json()
    assert found["success"] is True
    return found


def test_register_again_is_the_same(wire: httpx.Client, token: str) -> None:
    """Agents register at every start."""
    body = {"agentId": SERVER_ID, "agentKey": AGENT_TOKEN, "targetIp": "203.0.113.7"}
    for path in ("/api/agent/register", "/api/agents/register"):
        again = wire.post(path, json=body)
        assert again.status_code == 200
        assert again.json()["token"]


def test_another_key_is_refused_with_a_message(wire: httpx.Client, token: str) -> None:
    """From errors they read `message`."""
    answer = wire.post(
        "/api/agents/register", json={"agentId": SERVER_ID, "agentKey": "another-key-entirely"}
    )
    assert answer.status_code in {401, 409}
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    body = answer.json()
    assert body["success"] is False
    assert body["message"] == body["error"] == body["detail"]
    assert body["code"] == body["status"] == answer.status_code


@pytest.mark.parametrize("path", ["/api/agents/authenticate", "/api/agent/authenticate"])
def test_authenticate(wire: httpx.Client, token: str, path: str) -> None:
    body = post(
        wire,
        path,
        f'{{"agentId":"{SERVER_ID}","agentKey":"{AGENT_TOKEN}"}}',
        {"Content-Type": "application/json"},
    )
    assert body["token"]
    assert body["expiresAt"]


def test_http_route(wire: httpx.Client, headers: dict[str, str]) -> None:
    body = post(
        wire,
        "/api/proxy/http",
        f'{{"agentId":"{SERVER_ID}","subdomain":"shop","targetUrl":"http://203.0.113.7:3000",'
        '"expectedDomain":"shop.apps.example.com","options":{"useTls":true,"check":true}}',
        headers,
    )
    assert body["domain"] == "shop.apps.example.com"
    assert (body["subdomain"], body["targetUrl"]) == ("shop", "http://203.0.113.7:3000")
    assert (body["type"], body["status"]) == ("http", "active")
    assert {"message", "agentId", "route"} <= body.keys()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (
            "/api/mongodb/register",
            '{"agentId":"SERVER_ID","targetIp":"203.0.113.7","targetPort":27017,"useTls":true}',
        ),
        (
            "/api/proxy/mongodb",
            (
                '{"agentId":"SERVER_ID","targetHost":"203.0.113.7","targetPort":27017,'
                '"options":{"useTls":true}}'
            ),
        ),
    ],
)
def test_mongodb_route(
    stack: Stack, wire: httpx.Client, headers: dict[str, str], path: str, text: str
) -> None:
    body = post(wire, path, text.replace("SERVER_ID", SERVER_ID), headers)
    assert body["domain"] == f"{SERVER_ID.lower()}.mongodb.example.com"
    assert f"{body['domain']}:{stack.front.mongo_port}" in body["connectionString"]
    assert (body["targetHost"], body["targetIp"]) == ("203.0.113.7", "203.0.113.7")
    assert (body["targetPort"], body["useTls"], body["tlsEnabled"]) == (27017, True, True)
    assert (body["type"], body["status"]) == ("mongodb", "active")


def test_config_has_both_generations_of_names(
    wire: httpx.Client, headers: dict[str, str], tmp_path: Path
) -> None:
    """`caCert` and `ca` and so on; the key is PKCS#8, and RSA to the tool that checks it."""
    config = wire.get(f"/api/config/{SERVER_ID}", headers=headers).json()
    certificates = config["certificates"]
    for old, new in (("caCert", "ca"), ("serverCert", "cert"), ("serverKey", "key")):
        assert certificates[old] == certificates[new]
        assert certificates[new].startswith("-----BEGIN ")
    assert "BEGIN PRIVATE KEY" in certificates["serverKey"]
    again = wire.get(f"/api/config/{SERVER_ID}", headers=headers).json()
    assert again["certificates"] == certificates
    legacy = wire.get(f"/api/certificates/agent/{SERVER_ID}", headers=headers).json()
    assert legacy["certificates"]["serverKey"] == certificates["key"]

    for name in ("caCert", "serverCert", "serverKey"):
        (tmp_path / name).write_text(certificates[name])
    assert "RSA key ok" in _openssl("rsa", "-check", "-noout", "-in", tmp_path / "serverKey")
    key = _openssl("rsa", "-noout", "-modulus", "-in", tmp_path / "serverKey")
    assert key == _openssl("x509", "-noout", "-modulus", "-in", tmp_path / "serverCert")
    verified = _openssl("verify", "-CAfile", tmp_path / "caCert", tmp_path / "serverCert")
    assert verified.endswith(": OK\n")


def test_the_ca_is_public(wire: httpx.Client, headers: dict[str, str]) -> None:
    ca = wire.get("/api/certificates/mongodb-ca")
    assert ca.status_code == 200
    config = wire.get(f"/api/config/{SERVER_ID}", headers=headers).json()
    assert ca.text == config["certificates"]["ca"]


def test_list_and_remove(wire: httpx.Client, headers: dict[str, str]) -> None:
    """They look for `.routes[].subdomain`, and delete with a JSON body."""
    test_http_route(wire, headers)
    listed = wire.get("/api/proxy/routes", headers=headers).json()
    assert "shop" in [route.get("subdomain") for route in listed["routes"]]
    assert listed["routeCount"] == len(listed["routes"])
    removed = wire.request(
        "DELETE",
        "/api/proxy",
        content=f'{{"agentId":"{SERVER_ID}","subdomain":"shop","type":"http"}}',
        headers=headers,
    )
    assert removed.status_code == 200
    assert removed.json()["success"] is True
    after = wire.get("/api/proxy/routes", headers=headers).json()
    assert "shop" not in [route.get("subdomain") for route in after["routes"]]


def test_basic_credentials_work_too(wire: httpx.Client, token: str) -> None:
    basic = base64.b64encode(f"{SERVER_ID}:{AGENT_TOKEN}".encode()).decode()
    answer = wire.get("/api/proxy/routes", headers={"Authorization": f"Basic {basic}"})
    assert answer.status_code == 200


def test_malformed_json_is_told_in_a_message(wire: httpx.Client, headers: dict[str, str]) -> None:
    answer = wire.post("/api/proxy/http", content="{", headers=headers)
    assert answer.status_code == 400
    assert answer.json()["message"]


def _openssl(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr if "-check" in arguments else done.stdout
