"""Certificates and configuration over HTTP."""

from __future__ import annotations

import pytest

from frontserver.errors import CertificateError, NotFoundError, StorageError
from tests.unit.api.fakes import OPERATOR_TOKEN, World, assert_problem

CSR = "-----BEGIN CERTIFICATE REQUEST-----\nMII\n-----END CERTIFICATE REQUEST-----\n"
BUNDLE_MEMBERS = {
    "ca", "cert", "key", "caCert", "serverCert", "serverKey",
    "notBefore", "notAfter", "serial", "fingerprint",
}  # fmt: skip
OWN = ["/api/config/server-id", "/api/certificates/agent/server-id"]


@pytest.mark.parametrize("token", ["token-server-id", OPERATOR_TOKEN])
async def test_the_configuration_holds_domains_certificates_and_mongods_block(
    world: World, token: str
) -> None:
    answer = await world.call("GET", "/api/config/server-id", token=token)

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body.keys() == {"success", "agentId", "domains", "certificates", "mongodb"}
    assert body["success"] is True
    assert body["agentId"] == "server-id"
    assert body["domains"].keys() == {"app", "mongodb"}
    assert body["certificates"].keys() == BUNDLE_MEMBERS
    assert body["mongodb"]["net"]["tls"] == {
        "mode": "requireTLS",
        "certificateKeyFile": "/etc/ssl/frontserver/mongodb.pem",
        "CAFile": "/etc/ssl/frontserver/ca.crt",
        "allowConnectionsWithoutCertificates": True,
    }


async def test_the_old_path_answers_with_the_same_certificates(world: World) -> None:
    config = await world.call("GET", "/api/config/server-id")

    answer = await world.call("GET", "/api/certificates/agent/server-id")

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "success": True,
        "agentId": "server-id",
        "certificates": config.json()["certificates"],
    }


async def test_the_ca_is_public_pem(world: World) -> None:
    answer = await world.call("GET", "/api/certificates/mongodb-ca", token=None)

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/x-pem-file")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.text.startswith("-----BEGIN CERTIFICATE-----")


async def test_a_signed_request_comes_back_without_a_key(world: World) -> None:
    answer = await world.call("POST", "/api/certificates/agent/server-id/csr", json={"csr": CSR})

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    certificates = answer.json()["certificates"]
    assert certificates.keys() == BUNDLE_MEMBERS
    assert certificates["key"] is None
    assert certificates["serverKey"] is None
    assert certificates["cert"].startswith("-----BEGIN CERTIFICATE-----")


@pytest.mark.parametrize("body", [{"csr": "nonsense"}, {"csr": 1}, {"csr": None}, {}])
async def test_a_request_that_isnt_one_is_422(world: World, body: dict[str, object]) -> None:
    answer = await world.call("POST", "/api/certificates/agent/server-id/csr", json=body)

    assert assert_problem(answer, 422)["errors"][0]["field"] == "csr"


@pytest.mark.parametrize("path", OWN)
async def test_an_unknown_agent_is_404(world: World, path: str) -> None:
    world.certificates.failure = NotFoundError("there is no agent server-id")

    assert_problem(await world.call("GET", path, token=OPERATOR_TOKEN), 404)


@pytest.mark.parametrize("path", [*OWN, "/api/certificates/mongodb-ca"])
async def test_storage_out_of_reach_is_503(world: World, path: str) -> None:
    world.certificates.failure = StorageError("locked")

    answer = await world.call("GET", path)

    assert_problem(answer, 503)
    assert answer.headers["retry-after"] == "5"


async def test_a_fault_of_our_own_ca_is_500_and_tells_nothing_inside(world: World) -> None:
    world.certificates.failure = CertificateError("/secret/master.key can't be read")

    answer = await world.call("GET", "/api/config/server-id")

    assert_problem(answer, 500)
    assert "master.key" not in answer.text
