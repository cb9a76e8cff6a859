"""HTTPS with the operator's wildcard certificate."""

from __future__ import annotations

import json
import ssl

import httpx
import pytest

from harness.stack import Stack, StackAgent
from tests.e2e.clients import http2_get


@pytest.fixture(scope="module")
def agent(stack: Stack) -> StackAgent:
    agent = stack.registered("tls")
    assert agent.api.http("secure", stack.origin("secure").url).status_code == 201
    return agent


def test_a_site_is_served_under_a_verified_certificate(stack: Stack, agent: StackAgent) -> None:
    """With `useTls` left alone: on where the operator has a certificate."""
    answer = stack.client.get(stack.url("secure", scheme="https"))
    assert answer.json()["origin"] == "secure"
    with pytest.raises(httpx.ConnectError):
        httpx.get(stack.url("secure", scheme="https"), trust_env=False)  # Another CA.


def test_http2_is_spoken(stack: Stack, agent: StackAgent) -> None:
    context = ssl.create_default_context(cafile=stack.ca.file)
    _, body = http2_get(stack.front.https_port, "secure.apps.example.com", context)
    seen = json.loads(body)
    assert (seen["origin"], seen["path"]) == ("secure", "/h2")
    assert ["x-forwarded-proto", "https"] in [[n.lower(), v] for n, v in seen["headers"]]


def test_a_site_without_tls_is_plain_only(stack: Stack, agent: StackAgent) -> None:
    answer = agent.api.http("plain", stack.origin("plain").url, useTls=False)
    assert answer.status_code == 201
    assert stack.get("plain").json()["origin"] == "plain"
    assert stack.client.get(stack.url("plain", scheme="https")).status_code == 404


def test_an_unknown_site_is_not_found_over_tls(stack: Stack) -> None:
    assert stack.client.get(stack.url("nobody", scheme="https")).status_code == 404


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_current_versions_of_tls_are_spoken(stack: Stack, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context(cafile=stack.ca.file)
    context.minimum_version = context.maximum_version = version
    answer = httpx.get(stack.url("nobody", scheme="https"), trust_env=False, verify=context)
    assert answer.status_code == 404
