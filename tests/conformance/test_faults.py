"""HAProxy is away, the Data Plane is restarted, somebody edits the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.dataplane_double.document import is_ours
from harness.polling import until
from tests.conformance.site import (
    BACKENDS,
    CRT_LIST_ENTRIES,
    MAP,
    RUNTIME,
    TRANSACTIONS,
    S,
    Site,
    opened,
)

SLOT = f"{RUNTIME}/backends/cp_slot_1/servers"
SERVER = {"name": "s1", "address": "127.0.0.1", "port": 1}


# --- HAProxy ---


@pytest.fixture
def without_haproxy(site: Site) -> Site:
    site.dataplane.haproxy.kill()
    return site


@pytest.fixture(scope="module")
def away(haproxy: Path, program: Path | None) -> Iterator[Site]:
    """A site whose HAProxy is away, for tests that only look."""
    with opened(haproxy, program) as site:
        site.dataplane.haproxy.kill()
        yield site


def test_info_has_an_error_instead(without_haproxy: Site) -> None:
    answer = without_haproxy.api.get(f"{RUNTIME}/info")

    assert (answer.status_code, "info" in answer.json()) == (200, False)
    assert "dial unix" in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "tells"),
    [
        ("GET", SLOT, None, 404, False),
        ("GET", f"{SLOT}/s1", None, 404, False),
        ("POST", SLOT, SERVER, 500, True),
        ("PUT", f"{SLOT}/s1", {"admin_state": "ready"}, 404, False),
        ("DELETE", f"{SLOT}/s1", None, 404, False),
        ("GET", f"{RUNTIME}/maps", None, 404, True),
        ("GET", MAP, None, 404, True),
        ("GET", f"{MAP}/entries", None, 404, True),
        ("GET", f"{MAP}/entries/a", None, 404, True),
        ("POST", f"{MAP}/entries", {"key": "a", "value": "b"}, 400, True),
        ("PUT", f"{MAP}/entries/a", {"value": "b"}, 404, True),
        ("DELETE", f"{MAP}/entries/a", None, 404, True),
        ("GET", f"{RUNTIME}/ssl_certs", None, 404, True),
        ("GET", f"{RUNTIME}/ssl_crt_lists", None, 404, True),
        ("GET", f"{CRT_LIST_ENTRIES}?name=list", None, 404, True),
        ("GET", f"{S}/stats/native", None, 500, True),
    ],
)
def test_runtime_calls_look_like_absent_things(
    away: Site, method: str, path: str, body: dict[str, Any] | None, status: int, tells: bool
) -> None:
    """Some tell that the socket is dead, some don't even that."""
    answer = away.api.request(method, path, **({"json": body} if body else {}))

    assert (answer.status_code, "dial unix" in answer.text) == (status, tells)


def test_a_forced_change_is_undone_on_disk_with_what_nobody_reloaded(
    without_haproxy: Site,
) -> None:
    site = without_haproxy
    version = site.version()
    assert site.post(f"{site.base}\nbackend cp_1 from cp_defaults\n", skip_reload=True).is_success

    answer = site.post(f"{site.base}\nbackend cp_2 from cp_defaults\n")

    assert answer.status_code == 400
    assert "cannot reload: dial unix" in answer.json()["message"]
    assert (site.disk_version(), site.version()) == (version, version + 2)
    assert "cp_1" not in site.disk()
    site.dataplane.haproxy.start()
    assert site.post(f"{site.base}\nbackend cp_2 from cp_defaults\n").status_code == 201
    assert site.runs("cp_2")


def test_a_configured_server_waits_for_a_reload(without_haproxy: Site) -> None:
    site = without_haproxy
    query = {"version": site.version()}

    answer = site.api.post(f"{BACKENDS}/cp_slot_1/servers", params=query, json=SERVER)

    assert answer.status_code == 202


def test_haproxy_is_found_again_by_itself(without_haproxy: Site) -> None:
    without_haproxy.dataplane.haproxy.start()

    assert without_haproxy.worker() > 0
    assert without_haproxy.runs("cp_slot_1")


def test_one_that_was_away_at_the_start_is_asked_later_but_not_reloaded(
    make_site: Callable[..., Site],
) -> None:
    """Not until the Data Plane is started again; meanwhile `reload_cmd` is run, here `false`."""
    site = make_site(settings={"haproxy": {"delayed_start_max": "1s"}})
    site.dataplane.haproxy.kill()
    site.dataplane.restart()
    assert site.api.get(f"{RUNTIME}/info").status_code == 500
    assert site.api.get(SLOT).status_code == 500

    site.dataplane.haproxy.start()

    assert site.worker() > 0
    assert site.api.get(SLOT).status_code == 200
    answer = site.post(site.base)
    assert answer.status_code == 400
    assert "executing false failed" in answer.json()["message"]

    site.dataplane.restart()
    assert site.worker() > 0
    assert site.post(site.base).status_code == 201


# --- the Data Plane ---


def test_after_a_restart_the_file_is_what_counts(site: Site) -> None:
    site.post(f"{site.base}\nbackend cp_new from cp_defaults\n", skip_reload=True)
    version = site.version()
    site.dataplane.restart()

    assert site.version() == version
    assert site.api.get(f"{BACKENDS}/cp_new").status_code == 200
    assert not site.runs("cp_new")


def test_an_edit_while_it_was_down_has_the_same_version(site: Site) -> None:
    version = site.version()
    site.dataplane.kill()
    site.files.config.write_text(f"{site.disk()}\nbackend cp_edited from cp_defaults\n")
    site.dataplane.start()

    assert site.version() == version
    assert site.api.get(f"{BACKENDS}/cp_edited").status_code == 200


# --- edits ---


def edit(site: Site, text: str) -> None:
    """Replace the file as an editor does, and wait until that was noticed.

    One that was written in place may be read half, and is then written back so.
    """
    new = site.files.config.with_suffix(".new")
    new.write_text(text)
    new.replace(site.files.config)
    # Whoever reads it writes it again, with its checksum.
    until("the edit was read", lambda: is_ours(site.disk()))
    until("and is in memory", lambda: site.version() == site.disk_version())


def test_an_edit_is_read_and_not_reloaded(site: Site) -> None:
    version, worker, transaction = site.version(), site.worker(), site.begin()

    edit(site, f"{site.disk()}\nbackend cp_edited from cp_defaults\n")

    assert site.version() == version + 1
    assert site.api.get(f"{BACKENDS}/cp_edited").status_code == 200
    assert (site.worker(), site.runs("cp_edited")) == (worker, False)
    assert site.api.put(f"{TRANSACTIONS}/{transaction}").status_code == 409


def test_an_edit_that_is_nonsense_refuses_every_commit(site: Site) -> None:
    edit(site, f"{site.disk()}\nbackend cp_edited from cp_defaults\n    nonsense here\n")
    body = {"name": "cp_new", "from": "cp_defaults"}

    def add() -> int:
        query = {"version": site.version(), "force_reload": True}
        return site.api.post(BACKENDS, params=query, json=body).status_code

    assert add() == 400
    query = {"version": site.version(), "force_reload": True}
    assert site.api.delete(f"{BACKENDS}/cp_edited", params=query).status_code == 204
    assert add() == 201


def test_without_its_header_the_version_goes_down(site: Site) -> None:
    for _ in range(3):
        site.post(site.base)
    before = site.version()

    edit(site, site.base)

    assert site.version() == 2 < before


def test_a_section_without_from_is_given_one_when_the_file_is_read(site: Site) -> None:
    edit(site, f"{site.disk()}\nbackend cp_edited\n")

    assert site.api.get(f"{BACKENDS}/cp_edited").json()["from"] == "cp_defaults"
