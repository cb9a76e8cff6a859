"""Servers in the configuration, which reach HAProxy at run time where the API sees a way."""

from __future__ import annotations

from typing import Any

import pytest

from harness.origin import Origin
from harness.polling import until
from tests.conformance.site import BACKENDS, CONFIGURATION, RUNTIME, Site

SLOT, PREBUILT = f"{BACKENDS}/cp_slot_1/servers", f"{BACKENDS}/cp_pre/servers/s1"


def server(origin: Origin, **more: Any) -> dict[str, Any]:
    return {"name": "s1", "address": "127.0.0.1", "port": origin.port, **more}


def test_an_added_server_serves_nobody_until_it_is_made_ready(site: Site, origin: Origin) -> None:
    worker, version = site.worker(), site.version()
    site.route("a.example.com")

    answer = site.api.post(SLOT, params={"version": version}, json=server(origin))

    assert (answer.status_code, "reload-id" in answer.headers) == (201, False)
    assert site.version() == version + 1
    assert f"server s1 127.0.0.1:{origin.port}\n" in site.disk()
    assert site.servers("cp_slot_1")["s1"]["admin_state"] == "maint"
    assert site.get("a.example.com") == 503
    ready = site.api.put(f"{RUNTIME}/backends/cp_slot_1/servers/s1", json={"admin_state": "ready"})
    assert ready.json()["operational_state"] == "up"
    assert (site.get("a.example.com"), site.worker()) == (200, worker)


def test_asking_for_no_maintenance_does_not_help(site: Site, origin: Origin) -> None:
    body = server(origin, maintenance="disabled")
    answer = site.api.post(SLOT, params={"version": site.version()}, json=body)

    assert answer.status_code == 201
    assert site.servers("cp_slot_1")["s1"]["admin_state"] == "maint"
    assert f"server s1 127.0.0.1:{origin.port} enabled\n" in site.disk()


def test_a_forced_server_is_there_after_the_reload(site: Site, origin: Origin) -> None:
    worker = site.worker()
    query = {"version": site.version(), "force_reload": True}

    assert site.api.post(SLOT, params=query, json=server(origin)).status_code == 201
    assert site.servers("cp_slot_1")["s1"]["admin_state"] == "ready"
    assert site.worker() != worker


def test_a_server_of_a_backend_that_does_not_run_yet_waits(site: Site, origin: Origin) -> None:
    site.post(f"{site.base}\nbackend cp_new from cp_defaults\n", skip_reload=True)
    path = f"{BACKENDS}/cp_new/servers"

    answer = site.api.post(path, params={"version": site.version()}, json=server(origin))

    assert answer.status_code == 202
    assert site.wait_for_reload(answer.headers["reload-id"])["status"] == "succeeded"
    assert site.servers("cp_new")["s1"]["admin_state"] == "ready"


def test_a_backend_with_a_default_server_waits(site: Site, origin: Origin) -> None:
    site.post(f"{site.base}\nbackend cp_new from cp_defaults\n  default-server inter 2s\n")
    path = f"{BACKENDS}/cp_new/servers"

    answer = site.api.post(path, params={"version": site.version()}, json=server(origin))

    assert answer.status_code == 202
    assert site.wait_for_reload(answer.headers["reload-id"])["status"] == "succeeded"
    assert site.servers("cp_new")["s1"]["admin_state"] == "ready"


def test_a_name_twice_is_refused(site: Site, origin: Origin) -> None:
    statuses = [
        site.api.post(SLOT, params={"version": site.version()}, json=server(origin)).status_code
        for _ in range(2)
    ]

    assert statuses == [201, 409]


def test_a_prebuilt_server_is_live_and_checked_by_one_call(site: Site, origin: Origin) -> None:
    worker = site.worker()
    site.route("a.example.com", "cp_pre")
    body = server(origin, check="enabled", maintenance="disabled")

    answer = site.api.put(PREBUILT, params={"version": site.version()}, json=body)

    assert (answer.status_code, site.worker()) == (200, worker)
    assert site.get("a.example.com") == 200
    origin.stop()
    try:
        until(
            "the check has seen that the origin is gone",
            lambda: site.servers("cp_pre")["s1"]["operational_state"] == "down",
        )
    finally:
        origin.start()


@pytest.mark.parametrize(
    "body",
    [{"inter": 500, "check": "enabled"}, {}],
    ids=["something new", "a check removed"],
)
def test_another_change_waits_for_a_reload(
    site: Site, origin: Origin, body: dict[str, Any]
) -> None:
    wanted = server(origin, maintenance="disabled", **body)

    answer = site.api.put(PREBUILT, params={"version": site.version()}, json=wanted)

    assert answer.status_code == 202
    assert site.wait_for_reload(answer.headers["reload-id"])["status"] == "succeeded"
    assert site.servers("cp_pre")["s1"]["port"] == origin.port


def test_a_removed_weight_waits_for_a_reload(site: Site, origin: Origin) -> None:
    known = server(origin, check="enabled", maintenance="disabled")
    weighed = {**known, "weight": 50}
    query = {"force_reload": True}
    site.api.put(PREBUILT, params={"version": site.version(), **query}, json=weighed)

    changed = site.api.put(
        PREBUILT, params={"version": site.version()}, json={**known, "weight": 60}
    )
    removed = site.api.put(PREBUILT, params={"version": site.version()}, json=known)

    assert (changed.status_code, removed.status_code) == (200, 202)


def test_a_deleted_server_waits_for_a_reload(site: Site) -> None:
    answer = site.api.delete(PREBUILT, params={"version": site.version()})

    assert answer.status_code == 202
    site.wait_for_reload(answer.headers["reload-id"])
    assert site.servers("cp_pre") == {}


def test_servers_are_read_as_they_were_written(site: Site, origin: Origin) -> None:
    body = server(origin, check="enabled", inter=2000, weight=10, ssl="enabled", verify="none")
    query = {"version": site.version(), "force_reload": True}
    site.api.post(SLOT, params=query, json=body)

    assert site.api.get(f"{SLOT}/s1").json() == body
    assert site.api.get(SLOT).json() == [body]
    assert site.api.get(f"{SLOT}/s2").status_code == 404


def test_the_names_of_binds(site: Site) -> None:
    binds = site.api.get(f"{CONFIGURATION}/frontends/cp_http/binds").json()

    assert [(known["name"], known["port"]) for known in binds] == [("http", site.http)]
