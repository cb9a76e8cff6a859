"""Reloads: those that wait, those that fail, and what is left on disk and in memory."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from harness.origin import Origin
from tests.conformance.site import (
    BACKENDS,
    CONFIGURATION,
    RELOADS,
    RUNTIME,
    STORAGE,
    TEXT,
    Site,
    opened,
)


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


def store_and_reload(site: Site, text: str) -> httpx.Response:
    """Store the map, with a reload that is forced."""
    query = {"force_reload": True}
    return site.api.put(f"{STORAGE}/maps/host.map", params=query, content=text, headers=TEXT)


# --- those that wait ---


@pytest.fixture(scope="module")
def waiting(haproxy: Path, program: Path | None) -> Iterator[Site]:
    """A site where a reload that nobody forces waits for longer than any test."""
    with opened(haproxy, program, reload_delay=600) as site:
        yield site


@pytest.fixture
def patient(waiting: Site) -> Site:
    """The same in its first state, its Data Plane just started."""
    waiting.reset()
    waiting.dataplane.restart()
    return waiting


def later(site: Site, name: str) -> str:
    """Add a backend to the first configuration; the id of the reload that it waits for."""
    answer = site.later(f"{site.base}\nbackend {name} from cp_defaults\n")
    assert answer.status_code == 202
    return answer.headers["reload-id"]


def status(site: Site, reload: str) -> str:
    """The status of a reload, or that of the answer."""
    answer = site.api.get(f"{RELOADS}/{reload}")
    return str(answer.json()["status"] if answer.is_success else answer.status_code)


def test_changes_share_the_next_reload_which_is_in_progress(patient: Site) -> None:
    (name,) = {later(patient, f"cp_{number}") for number in range(3)}

    assert status(patient, name) == "in_progress"
    assert [known["id"] for known in patient.api.get(RELOADS).json()] == [name]
    assert not patient.runs("cp_2")


def test_a_forced_one_does_what_waits(patient: Site) -> None:
    name = later(patient, "cp_new")
    query = {"version": patient.version(), "force_reload": True}
    body = {"name": "cp_newer", "from": "cp_defaults"}
    patient.api.post(BACKENDS, params=query, json=body)

    assert status(patient, name) == "succeeded"
    assert patient.runs("cp_new")


def test_an_unknown_reload_is_absent_unless_it_looks_old(patient: Site) -> None:
    assert status(patient, "2020-01-01-0") == "404"
    later(patient, "cp_new")
    patient.post(patient.base)

    assert status(patient, "2020-01-01-0") == "succeeded"
    assert status(patient, "2099-01-01-9") == "404"


def test_one_that_waits_dies_with_the_data_plane_and_its_id_lies_later(patient: Site) -> None:
    lost = later(patient, "cp_lost")
    patient.dataplane.restart()

    assert "backend cp_lost" in patient.disk()
    assert not patient.runs("cp_lost")
    assert status(patient, lost) == "404"
    # The next one is given the same id.
    later(patient, "cp_other")
    patient.post(patient.base)
    assert status(patient, lost) == "succeeded"
    assert not patient.runs("cp_lost")


# --- those that fail ---


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


def test_one_that_a_stored_map_brings_on_fails_like_any_other(site: Site, taken: int) -> None:
    """The configuration written before it goes with it; the map stays written."""
    before, worker = site.disk(), site.worker()
    assert site.post(clashing(site, taken), skip_reload=True).status_code == 201

    answer = store_and_reload(site, "a.example.com cp_bad\n")

    assert answer.status_code == 400
    assert str(taken) in answer.json()["message"]
    assert (site.worker(), site.disk()) == (worker, before)
    assert site.version() > site.disk_version()
    assert site.map_file.read_text() == "a.example.com cp_bad\n"


def test_what_is_written_after_it_brings_disk_and_memory_together(site: Site, taken: int) -> None:
    site.post(clashing(site, taken), skip_reload=True)
    store_and_reload(site, "\n")

    assert site.post(site.base, skip_reload=True).status_code == 201

    assert site.version() == site.disk_version()


# --- what is kept ---


def test_one_that_a_stored_map_brings_on_loads_what_was_written_before(site: Site) -> None:
    site.post(f"{site.base}\nbackend cp_new from cp_defaults\n", skip_reload=True)
    assert not site.runs("cp_new")

    assert store_and_reload(site, "a.example.com cp_new\n").status_code == 204

    assert site.runs("cp_new")
    assert site.entries() == {"a.example.com": "cp_new"}
    assert site.files.last_good.read_text() == site.disk()


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
