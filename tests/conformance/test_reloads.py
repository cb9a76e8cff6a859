"""Reloads: those that wait, those that fail, and what is left on disk and in memory."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from harness.origin import Origin
from tests.conformance.site import BACKENDS, CONFIGURATION, RELOADS, RUNTIME, Site


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another process listens on: `haproxy -c` doesn't mind, a reload does."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def clashing(site: Site, port: int) -> str:
    return f"""\
{site.base}
frontend cp_bad from cp_defaults
  bind 127.0.0.1:{port}
  http-request return status 200
"""


def test_changes_share_the_next_reload(site: Site) -> None:
    names = set()
    for number in range(3):
        names.add(
            site.later(f"{site.base}\nbackend cp_{number} from cp_defaults\n").headers["reload-id"]
        )

    # A tick may have come between them.
    assert len(names) < 3
    assert site.wait_for_reload(max(names, key=_number))["status"] == "succeeded"
    assert site.runs("cp_2")


def _number(name: str) -> int:
    return int(name.rpartition("-")[2])


def test_a_reload_that_waits_is_in_progress(fresh: Site) -> None:
    name = fresh.later(fresh.base).headers["reload-id"]

    assert fresh.api.get(f"{RELOADS}/{name}").json()["status"] == "in_progress"
    assert [known["id"] for known in fresh.api.get(RELOADS).json()] == [name]


def test_a_forced_one_does_what_waits(site: Site) -> None:
    name = site.later(f"{site.base}\nbackend cp_new from cp_defaults\n").headers["reload-id"]
    query = {"version": site.version(), "force_reload": True}
    body = {"name": "cp_newer", "from": "cp_defaults"}
    site.api.post(BACKENDS, params=query, json=body)

    assert site.api.get(f"{RELOADS}/{name}").json()["status"] == "succeeded"
    assert site.runs("cp_new")


def test_an_unknown_reload_is_absent_unless_it_looks_old(fresh: Site) -> None:
    assert fresh.api.get(f"{RELOADS}/2020-01-01-0").status_code == 404
    fresh.wait_for_reload(fresh.later(fresh.base).headers["reload-id"])

    assert fresh.api.get(f"{RELOADS}/2020-01-01-0").json()["status"] == "succeeded"
    assert fresh.api.get(f"{RELOADS}/2099-01-01-9").status_code == 404


def test_one_that_waits_dies_with_the_data_plane_and_its_id_lies_later(fresh: Site) -> None:
    lost = fresh.later(f"{fresh.base}\nbackend cp_lost from cp_defaults\n").headers["reload-id"]
    fresh.dataplane.restart()

    assert "backend cp_lost" in fresh.disk()
    assert not fresh.runs("cp_lost")
    assert fresh.api.get(f"{RELOADS}/{lost}").status_code == 404
    # The next one is given the same id.
    fresh.wait_for_reload(fresh.later(fresh.base).headers["reload-id"])
    assert fresh.api.get(f"{RELOADS}/{lost}").json()["status"] == "succeeded"
    assert not fresh.runs("cp_lost")


def test_after_a_failed_reload_disk_and_memory_differ(site: Site, taken: int) -> None:
    before, version, worker = site.disk(), site.version(), site.worker()

    answer = site.post(clashing(site, taken))

    assert answer.status_code == 400
    assert "Reload failed: failed to reload configuration" in answer.json()["message"]
    # HAProxy goes on with what it had, and the file is that again.
    assert (site.worker(), site.disk()) == (worker, before)
    # Memory isn't.
    assert (site.version(), site.disk_version()) == (version + 1, version)
    known = site.api.get(f"{CONFIGURATION}/frontends").json()
    assert "cp_bad" in [section["name"] for section in known]


def test_and_the_next_change_fails_too_until_all_is_posted_anew(site: Site, taken: int) -> None:
    site.post(clashing(site, taken))
    query = {"version": site.version(), "force_reload": True}
    body = {"name": "cp_new", "from": "cp_defaults"}
    assert site.api.post(BACKENDS, params=query, json=body).status_code == 400
    assert not site.runs("cp_new")

    assert site.post(f"{site.base}\nbackend cp_new from cp_defaults\n").status_code == 201

    assert site.runs("cp_new")
    assert site.version() == site.disk_version()


def test_a_later_one_that_fails_tells_haproxys_words(site: Site, taken: int) -> None:
    told = site.wait_for_reload(site.later(clashing(site, taken)).headers["reload-id"])

    assert told["status"] == "failed"
    assert str(taken) in told["response"]
    assert "cp_bad" not in site.disk()


def test_what_was_done_without_a_reload_is_lost_on_disk_by_a_failed_one(
    site: Site, taken: int, origin: Origin
) -> None:
    body = {"name": "s1", "address": "127.0.0.1", "port": origin.port, "check": "enabled"}
    site.route("a.example.com", "cp_pre")
    path = f"{BACKENDS}/cp_pre/servers/s1"
    answer = site.api.put(
        path, params={"version": site.version()}, json={**body, "maintenance": "disabled"}
    )
    assert (answer.status_code, site.get("a.example.com")) == (200, 200)
    assert str(origin.port) in site.disk()

    assert site.post(clashing(site, taken)).status_code == 400

    assert site.get("a.example.com") == 200
    assert f"127.0.0.1:{origin.port}" not in site.disk()
    assert "server s1 127.0.0.1:1 check disabled" in site.disk()


def test_a_forced_reload_makes_the_last_good_file(site: Site) -> None:
    site.post(f"{site.base}\nbackend cp_new from cp_defaults\n", skip_reload=True)
    assert "cp_new" not in site.files.last_good.read_text()

    site.post(site.disk())

    assert site.files.last_good.read_text() == site.disk()
    assert "cp_new" in site.disk()


def test_map_entries_are_lost_if_a_reload_comes_after(site: Site) -> None:
    """With `force_sync` they are in the file first, and stay."""
    site.route("a.example.com", sync=True)
    site.route("b.example.com", sync=False)
    site.post(site.base)

    assert site.entries() == {"a.example.com": "cp_slot_1"}


def test_worker_states_are_lost_by_a_reload(site: Site) -> None:
    path = f"{RUNTIME}/backends/cp_pre/servers/s1"
    site.api.put(path, json={"admin_state": "ready"}).raise_for_status()
    site.post(site.base)

    assert site.servers("cp_pre")["s1"]["admin_state"] == "maint"
