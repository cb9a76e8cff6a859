"""Servers of the running worker alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from harness.origin import Origin
from harness.polling import until
from tests.conformance.contract import BROKEN
from tests.conformance.site import BACKENDS, RUNTIME, Site

SLOT = f"{RUNTIME}/backends/cp_slot_1/servers"


def add(site: Site, origin: Origin, **more: Any) -> int:
    """Add the origin as `s1`, and make it ready; the status of the first answer."""
    body = {"name": "s1", "address": "127.0.0.1", "port": origin.port, **more}
    answer = site.api.post(SLOT, json=body)
    assert answer.json() == body
    site.api.put(f"{SLOT}/s1", json={"admin_state": "ready"}).raise_for_status()
    return answer.status_code


def test_the_life_of_a_server(site: Site, origin: Origin) -> None:
    worker, version = site.worker(), site.version()
    site.route("a.example.com")

    assert add(site, origin) == 201
    assert site.get("a.example.com") == 200
    assert (site.worker(), site.version()) == (worker, version)
    assert site.api.delete(f"{SLOT}/s1").status_code == 204
    assert site.servers("cp_slot_1") == {}
    assert site.get("a.example.com") == 503


def test_a_new_server_is_in_maintenance(site: Site, origin: Origin) -> None:
    body = {"name": "s1", "address": "127.0.0.1", "port": origin.port}
    site.api.post(SLOT, json=body).raise_for_status()

    known = site.api.get(f"{SLOT}/s1").json()
    assert (known["admin_state"], known["operational_state"]) == ("maint", "down")


@pytest.mark.parametrize("state", ["maint", "drain", "ready"])
def test_states_are_set_and_told(site: Site, origin: Origin, state: str) -> None:
    add(site, origin)

    answer = site.api.put(f"{SLOT}/s1", json={"admin_state": state})

    assert (answer.status_code, answer.json()["admin_state"]) == (200, state)


def test_an_unknown_state_is_refused(site: Site, origin: Origin) -> None:
    add(site, origin)
    answer = site.api.put(f"{SLOT}/s1", json={"admin_state": "off"}, extensions=BROKEN)

    assert (answer.status_code, answer.json()["code"]) == (422, 606)


def test_another_address_is_ignored_without_a_word(site: Site, origin: Origin) -> None:
    add(site, origin)
    answer = site.api.put(f"{SLOT}/s1", json={"address": "127.0.0.9", "port": 9})

    assert answer.status_code == 200
    assert site.servers("cp_slot_1")["s1"]["port"] == origin.port


def test_no_servers_and_no_backend_are_told_apart(site: Site) -> None:
    assert site.api.get(SLOT).json() == []
    assert site.api.get(f"{RUNTIME}/backends/cp_unknown/servers").status_code == 404


def test_what_cannot_be_added(site: Site, origin: Origin) -> None:
    add(site, origin)
    body = {"name": "s1", "address": "127.0.0.1", "port": origin.port}

    def post(path: str, **more: Any) -> int:
        return site.api.post(path, json={**body, **more}, extensions=BROKEN).status_code

    assert post(SLOT) == 409
    assert post(f"{RUNTIME}/backends/cp_unknown/servers") == 404
    assert post(SLOT, name="") == 400
    assert post(SLOT, name="s2", port=99_999) == 422
    assert post(SLOT, name="with space") == 500


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_server_that_is_not_there(site: Site, method: str) -> None:
    body = {"json": {"admin_state": "ready"}} if method == "PUT" else {}

    assert site.api.request(method, f"{SLOT}/s9", **body).status_code == 404


def test_a_server_with_a_stream_stays_in_maintenance(site: Site, origin: Origin) -> None:
    # Idle connections would count for some seconds more.
    add(site, origin, pool_max_conn=0)
    site.route("a.example.com")
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(site.get, "a.example.com", "/hold")
        until("the origin has the request", lambda: origin.busy)
        answer = site.api.delete(f"{SLOT}/s1")
        assert answer.status_code == 500
        assert "still has connections" in answer.json()["message"]
        assert site.servers("cp_slot_1")["s1"]["admin_state"] == "maint"
        origin.finish()
        assert held.result() == 200

    until("it can be deleted", lambda: site.api.delete(f"{SLOT}/s1").status_code == 204)


def test_a_reload_forgets_it(site: Site, origin: Origin) -> None:
    add(site, origin)
    site.post(site.base)

    assert site.servers("cp_slot_1") == {}


def test_a_text_without_a_reload_persists_it(site: Site, origin: Origin) -> None:
    site.route("a.example.com", sync=True)
    add(site, origin)
    head = "backend cp_slot_1 from cp_defaults\n"
    text = site.base.replace(head, f"{head}  server s1 127.0.0.1:{origin.port}\n")
    assert site.post(text, skip_reload=True).status_code == 201
    assert site.get("a.example.com") == 200

    site.dataplane.haproxy.restart()

    assert site.get("a.example.com") == 200


def test_a_check_does_not_run_before_the_next_reload(site: Site, origin: Origin) -> None:
    """An origin that isn't there counts as up, and so does one that is said to be checked."""
    body: dict[str, Any] = {"name": "s1", "address": "127.0.0.1", "port": 1, "check": "enabled"}
    body["inter"] = 100
    site.api.post(SLOT, json=body).raise_for_status()
    site.api.put(f"{SLOT}/s1", json={"admin_state": "ready"}).raise_for_status()
    # Another server's check goes on meanwhile, and finds out.
    query = {"version": site.version()}
    prebuilt = {"name": "s1", "address": "127.0.0.1", "port": 1, "check": "enabled"}
    site.api.put(
        f"{BACKENDS}/cp_pre/servers/s1", params=query, json={**prebuilt, "maintenance": "disabled"}
    )
    until(
        "the prebuilt one is down",
        lambda: site.servers("cp_pre")["s1"]["operational_state"] == "down",
    )

    assert site.servers("cp_slot_1")["s1"]["operational_state"] == "up"
