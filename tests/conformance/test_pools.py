"""A stored file that HAProxy reads after the configuration, which chooses a part of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.site import RAW, STORAGE, TEXT, Site

FILE = f"{STORAGE}/general/fs-pools.cfg"
BLOCKS = """\
.if streq("$FS_POOLS",one)
defaults pools from cp_defaults
  timeout server 7s
backend cp_one from pools
.endif
.if streq("$FS_POOLS",two)
backend cp_two from cp_defaults
.endif
.if streq("$FS_POOLS",wrong)
no-such-section
.endif
"""


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    """Three files; the last one has three blocks, one of them with a mistake."""
    site = make_site(pools=True)
    put(site, BLOCKS)
    return site


def put(site: Site, text: str) -> None:
    upload = {"file_upload": ("fs-pools.cfg", text.encode())}
    answer = site.api.put(FILE, params={"skip_reload": True}, files=upload)
    assert answer.status_code == 204


def choosing(site: Site, key: str) -> str:
    return f"global\n    setenv FS_POOLS {key}\n{site.base}"


def test_the_configuration_chooses(site: Site) -> None:
    """As often as it is another one: the master passes its environment on to new workers."""
    for key, other in (("one", "two"), ("two", "one"), ("nothing", "one"), ("one", "two")):
        assert site.post(choosing(site, key)).status_code == 201
        assert f"\n  setenv FS_POOLS {key}\n" in site.disk()
        assert not site.runs(f"cp_{other}")
        assert site.runs(f"cp_{key}") == (key != "nothing")


def test_what_is_stored_is_taken_with_the_next_reload_alone(site: Site) -> None:
    assert site.post(choosing(site, "one")).status_code == 201
    worker = site.worker()
    put(site, BLOCKS.replace("cp_one", "cp_other"))
    assert (site.worker(), site.runs("cp_one"), site.runs("cp_other")) == (worker, True, False)

    assert site.post(choosing(site, "one")).status_code == 201

    assert (site.runs("cp_one"), site.runs("cp_other")) == (False, True)


def test_servers_and_routes_at_run_time_are_as_in_any_backend(site: Site) -> None:
    assert site.post(choosing(site, "one")).status_code == 201
    server = {"name": "s1", "address": "127.0.0.1", "port": 1}
    path = "/services/haproxy/runtime/backends/cp_one/servers"
    assert site.api.post(path, json=server).status_code == 201
    assert site.route("a.example.com", "cp_one").status_code == 201
    assert set(site.servers("cp_one")) == {"s1"}
    assert site.get("a.example.com") == 503


def test_a_mistake_in_the_chosen_block_is_refused(site: Site) -> None:
    assert site.post(choosing(site, "one")).status_code == 201
    disk = site.disk()

    for query in ({"skip_reload": True}, {"force_reload": True}):
        answer = site.post(choosing(site, "wrong"), **query)
        assert answer.status_code == 400
        assert "no-such-section" in answer.text
    answer = site.api.post(
        RAW,
        params={"only_validate": True, "skip_version": True},
        content="global\n    setenv FS_POOLS wrong\n",
        headers=TEXT,
    )
    assert answer.status_code == 400
    assert "no-such-section" in answer.text
    assert site.disk() == disk
    assert site.runs("cp_one")
