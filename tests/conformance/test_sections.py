"""Sections as JSON."""

from __future__ import annotations

from typing import Any

import pytest

from harness.ports import free_port
from tests.conformance.contract import BROKEN
from tests.conformance.site import BACKENDS, CONFIGURATION, TRANSACTIONS, Site


@pytest.fixture
def transaction(site: Site) -> str:
    return site.begin()


def whole(transaction: str) -> dict[str, Any]:
    return {"transaction_id": transaction, "full_section": True}


def bodies(site: Site) -> list[tuple[str, dict[str, Any]]]:
    """One of each kind that our configuration consists of, by its path."""
    maps = site.files.maps
    return [
        (
            "defaults",
            {
                "name": "cp_new",
                "mode": "http",
                "connect_timeout": 5000,
                "client_timeout": 60000,
                "server_timeout": 60000,
                "http_keep_alive_timeout": 10000,
                "http_request_timeout": 15000,
                "tunnel_timeout": 3600000,
            },
        ),
        (
            "backends",
            {
                "name": "cp_404",
                "from": "cp_new",
                "mode": "http",
                "http_request_rule_list": [
                    {
                        "type": "return",
                        "return_status_code": 404,
                        "return_content_format": "string",
                        "return_content": '"no route"',
                        "return_content_type": "text/plain",
                        "return_hdrs": [{"name": "X-Cp", "fmt": "none"}],
                    }
                ],
            },
        ),
        (
            "backends",
            {
                "name": "cp_r1",
                "from": "cp_new",
                "mode": "http",
                "balance": {"algorithm": "roundrobin"},
                "servers": {
                    "s1": {
                        "name": "s1",
                        "address": "127.0.0.1",
                        "port": 21001,
                        "check": "enabled",
                        "weight": 100,
                    },
                    "s2": {
                        "name": "s2",
                        "address": "127.0.0.1",
                        "port": 21002,
                        "backup": "enabled",
                        "ssl": "enabled",
                        "verify": "none",
                        "inter": 1500,
                    },
                },
            },
        ),
        (
            "frontends",
            {
                "name": "cp_web",
                "from": "cp_new",
                "mode": "http",
                "default_backend": "cp_404",
                "binds": {"http": {"name": "http", "address": "127.0.0.1", "port": free_port()}},
                "acl_list": [{"acl_name": "is_health", "criterion": "path", "value": "/healthz"}],
                "http_request_rule_list": [
                    {
                        "type": "set-var",
                        "var_scope": "txn",
                        "var_name": "host",
                        "var_expr": "req.hdr(host),field(1,:),lower",
                    },
                    {
                        "type": "redirect",
                        "redir_type": "scheme",
                        "redir_value": "https",
                        "redir_code": 301,
                        "cond": "if",
                        "cond_test": "{ path /secure }",
                    },
                ],
                "backend_switching_rule_list": [
                    {"name": f"%[var(txn.host),map({maps}/host.map,cp_404)]"}
                ],
            },
        ),
        (
            "frontends",
            {
                "name": "cp_mongo",
                "from": "cp_new",
                "mode": "tcp",
                "client_timeout": 3600000,
                "binds": {"m": {"name": "m", "address": "127.0.0.1", "port": free_port()}},
                "tcp_request_rule_list": [
                    {"type": "inspect-delay", "timeout": 5000},
                    {
                        "type": "content",
                        "action": "accept",
                        "cond": "if",
                        "cond_test": "{ req_ssl_hello_type 1 }",
                    },
                ],
                "backend_switching_rule_list": [
                    {"name": f"%[req_ssl_sni,lower,map({maps}/host.map)]"}
                ],
            },
        ),
    ]


def test_what_is_posted_is_read_back_and_haproxy_takes_it(site: Site, transaction: str) -> None:
    for kind, body in bodies(site):
        answer = site.api.post(f"{CONFIGURATION}/{kind}", params=whole(transaction), json=body)
        assert (answer.status_code, answer.json()) == (202, body)
        read = site.api.get(f"{CONFIGURATION}/{kind}/{body['name']}", params=whole(transaction))
        assert read.json() == body

    committed = site.api.put(f"{TRANSACTIONS}/{transaction}", params={"force_reload": True})

    assert committed.status_code == 200
    assert site.servers("cp_r1").keys() == {"s1", "s2"}


def test_times_are_written_in_the_largest_unit(site: Site, transaction: str) -> None:
    for kind, body in bodies(site):
        site.api.post(f"{CONFIGURATION}/{kind}", params=whole(transaction), json=body)
    site.api.put(f"{TRANSACTIONS}/{transaction}", params={"force_reload": True})

    for line in ("timeout client 1m", "timeout tunnel 1h", "timeout http-request 15s"):
        assert f"\n  {line}\n" in site.disk()
    assert "inter 1500ms" in site.disk()


def test_sections_are_listed_without_what_is_in_them(site: Site) -> None:
    listed = {known["name"]: known for known in site.api.get(BACKENDS).json()}

    assert listed.keys() == {"cp_none", "cp_pre", "cp_slot_1", "cp_slot_2"}
    assert listed["cp_pre"] == {"name": "cp_pre", "from": "cp_defaults"}


def server(name: str) -> dict[str, Any]:
    return {"name": name, "address": "127.0.0.1", "port": 1, "maintenance": "enabled"}


def test_a_replaced_section_keeps_what_is_in_it(site: Site, transaction: str) -> None:
    path, query = f"{BACKENDS}/cp_pre", {"transaction_id": transaction}
    answer = site.api.put(path, params=query, json={"name": "cp_pre", "mode": "http"})

    assert answer.status_code == 202
    kept = site.api.get(f"{path}/servers", params=query).json()
    assert [known["name"] for known in kept] == ["s1"]


def test_a_section_replaced_as_a_whole_loses_what_is_not_named(
    site: Site, transaction: str
) -> None:
    path = f"{BACKENDS}/cp_pre"
    body = {"name": "cp_pre", "servers": {"s9": server("s9")}}
    assert site.api.put(path, params=whole(transaction), json=body).status_code == 202

    kept = site.api.get(f"{path}/servers", params={"transaction_id": transaction}).json()
    assert [known["name"] for known in kept] == ["s9"]


def test_a_name_twice_is_answered_in_two_ways(site: Site, transaction: str) -> None:
    body = {"name": "cp_none", "from": "cp_defaults"}
    query = {"transaction_id": transaction}

    assert site.api.post(BACKENDS, params=query, json=body).status_code == 409
    assert site.api.post(BACKENDS, params=whole(transaction), json=body).status_code == 404


def test_what_is_not_there_is_absent(site: Site, transaction: str) -> None:
    path, query = f"{BACKENDS}/cp_unknown", {"transaction_id": transaction}

    assert site.api.get(path).status_code == 404
    assert site.api.put(path, params=query, json={"name": "cp_unknown"}).status_code == 404
    assert site.api.delete(path, params=query).status_code == 404


def test_but_its_servers_are_an_empty_list(site: Site) -> None:
    answer = site.api.get(f"{BACKENDS}/cp_unknown/servers")

    assert (answer.status_code, answer.json()) == (200, [])


def test_a_server_needs_its_backend(site: Site, transaction: str) -> None:
    query = {"transaction_id": transaction}
    path = f"{BACKENDS}/cp_unknown/servers"

    assert site.api.post(path, params=query, json=server("s1")).status_code == 400


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"from": "cp_defaults"}, 602),
        ({"name": "with space"}, 605),
        ({"name": "cp_new", "mode": "udp"}, 606),
    ],
    ids=["missing", "pattern", "enum"],
)
def test_a_wrong_value_is_named(
    site: Site, transaction: str, body: dict[str, Any], code: int
) -> None:
    query = {"transaction_id": transaction}
    answer = site.api.post(BACKENDS, params=query, json=body, extensions=BROKEN)

    assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_unknown_fields_are_ignored(site: Site, transaction: str) -> None:
    body = {"name": "cp_new", "from": "cp_defaults", "no_such_field": 1}
    query = {"transaction_id": transaction}
    answer = site.api.post(BACKENDS, params=query, json=body, extensions=BROKEN)

    assert (answer.status_code, "no_such_field" in answer.json()) == (202, False)


def test_broken_json_and_other_types_are_refused(site: Site, transaction: str) -> None:
    query = {"transaction_id": transaction}

    def post(media: str) -> int:
        headers = {"content-type": media}
        return site.api.post(
            BACKENDS, params=query, content="{", headers=headers, extensions=BROKEN
        ).status_code

    assert (post("application/json"), post("text/plain")) == (400, 415)


@pytest.mark.parametrize(
    "more", [{"version": 1}, {"force_reload": True}], ids=["a version", "a reload"]
)
def test_a_transaction_goes_without(site: Site, transaction: str, more: dict[str, Any]) -> None:
    query = {"transaction_id": transaction, **more}
    body = {"name": "cp_new", "from": "cp_defaults"}

    assert site.api.post(BACKENDS, params=query, json=body).status_code == 400


def test_neither_transaction_nor_version_is_a_mistake(site: Site) -> None:
    assert site.api.post(BACKENDS, json={"name": "cp_new"}).status_code == 400


def test_texts_are_written_without_quotes_and_refused_late(site: Site, transaction: str) -> None:
    rule = {
        "type": "return",
        "return_status_code": 404,
        "return_content_format": "string",
        "return_content": "no route",
        "return_content_type": "text/plain",
    }
    body = {"name": "cp_new", "from": "cp_defaults", "http_request_rule_list": [rule]}
    assert site.api.post(BACKENDS, params=whole(transaction), json=body).status_code == 202

    answer = site.api.put(f"{TRANSACTIONS}/{transaction}", params={"force_reload": True})
    assert answer.status_code == 400


def test_a_section_can_be_deleted(site: Site) -> None:
    query = {"version": site.version(), "force_reload": True}

    assert site.api.delete(f"{BACKENDS}/cp_slot_2", params=query).status_code == 204
    assert not site.runs("cp_slot_2")
