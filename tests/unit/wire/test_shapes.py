"""Answers carry every member that agents read, old ones included."""

from __future__ import annotations

import msgspec

from frontserver.model.status import ProxyStatus
from frontserver.wire.agents import (
    Acknowledgement,
    AuthenticateAnswer,
    AuthenticateRequest,
    RegisterAnswer,
    RegisterRequest,
)
from frontserver.wire.certificates import (
    AgentConfig,
    CertificateBundle,
    Domains,
    MongoConfig,
    MongoNet,
    MongoNetTls,
)
from frontserver.wire.health import proxy_view
from frontserver.wire.problems import FieldProblem, Problem

BUNDLE = CertificateBundle(
    ca="CA",
    cert="CERT",
    key=None,
    ca_cert="CA",
    server_cert="CERT",
    server_key=None,
    not_before="2030-01-01T00:00:00Z",
    not_after="2030-04-01T00:00:00Z",
    serial="0a",
    fingerprint="ff",
)


def test_registration_as_old_agents_send_it() -> None:
    request = msgspec.json.decode(
        b'{"agentId":"SERVER_ID","agentKey":"AGENT_TOKEN","agentName":"host-7",'
        b'"targetIp":"203.0.113.7","extra":1}',
        type=RegisterRequest,
    )
    assert (request.agent_id, request.agent_key) == ("SERVER_ID", "AGENT_TOKEN")
    assert (request.agent_name, request.target_ip) == ("host-7", "203.0.113.7")


def test_authentication_as_old_agents_send_it() -> None:
    body = b'{"agentId":"SERVER_ID","agentKey":"AGENT_TOKEN"}'
    assert msgspec.json.decode(body, type=AuthenticateRequest).agent_key == "AGENT_TOKEN"


def test_a_registration_answer_has_every_member() -> None:
    answer = RegisterAnswer(
        message="registered",
        agent_id="a1",
        agent_name="host-7",
        target_ip="203.0.113.7",
        token="t",
        expires_at="2030-01-01T00:00:00Z",
        tls_enabled=True,
        certificates=BUNDLE,
    )
    shown = msgspec.to_builtins(answer)
    assert shown["success"] is True
    assert set(shown) == {
        "success",
        "message",
        "agentId",
        "agentName",
        "targetIp",
        "token",
        "expiresAt",
        "tlsEnabled",
        "certificates",
    }


def test_certificates_stand_under_both_generations_of_names() -> None:
    shown = msgspec.to_builtins(BUNDLE)
    assert set(shown) == {
        "ca",
        "cert",
        "key",
        "caCert",
        "serverCert",
        "serverKey",
        "notBefore",
        "notAfter",
        "serial",
        "fingerprint",
    }


def test_a_configuration_holds_a_ready_tls_block() -> None:
    config = AgentConfig(
        agent_id="a1",
        domains=Domains(app="apps.example.com", mongodb="a1.mongodb.example.com"),
        certificates=BUNDLE,
        mongodb=MongoConfig(
            net=MongoNet(tls=MongoNetTls(certificate_key_file="/c.pem", ca_file="/ca.pem"))
        ),
    )
    shown = msgspec.to_builtins(config)
    assert shown["success"] is True
    assert shown["domains"] == {"app": "apps.example.com", "mongodb": "a1.mongodb.example.com"}
    assert shown["mongodb"]["net"] == {
        "port": 27017,
        "tls": {
            "mode": "requireTLS",
            "certificateKeyFile": "/c.pem",
            "CAFile": "/ca.pem",
            "allowConnectionsWithoutCertificates": True,
        },
    }


def test_other_answers_say_success() -> None:
    token = AuthenticateAnswer(agent_id="a1", token="t", expires_at="2030-01-01T00:00:00Z")
    assert set(msgspec.to_builtins(token)) == {"success", "agentId", "token", "expiresAt"}
    assert msgspec.to_builtins(Acknowledgement(message="done")) == {
        "success": True,
        "message": "done",
    }


def test_a_problem_carries_the_members_that_old_agents_read() -> None:
    problem = Problem(
        type="about:blank",
        title="Unprocessable",
        status=422,
        detail="no",
        success=False,
        error="no",
        message="no",
        code=422,
        errors=[FieldProblem("subdomain", "no")],
    )
    assert msgspec.to_builtins(problem) == {
        "type": "about:blank",
        "title": "Unprocessable",
        "status": 422,
        "detail": "no",
        "success": False,
        "error": "no",
        "message": "no",
        "code": 422,
        "errors": [{"field": "subdomain", "message": "no"}],
    }


def test_health_shows_haproxy_as_its_reconciler_sees_it() -> None:
    status = ProxyStatus(
        reachable=True,
        in_step=False,
        applied_revision=3,
        stored_revision=4,
        version="3.2.26",
        counts={"reloads": 2},
        warnings=("mend this",),
    )
    assert msgspec.to_builtins(proxy_view(status)) == {
        "reachable": True,
        "inStep": False,
        "appliedRevision": 3,
        "storedRevision": 4,
        "version": "3.2.26",
        "reason": None,
        "counts": {"reloads": 2},
        "warnings": ["mend this"],
    }
