"""Maps of the running worker, and their files."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.conformance.contract import BROKEN
from tests.conformance.site import MAP, RUNTIME, Site

UNKNOWN = f"{RUNTIME}/maps/nosuch.map"
SYNC = {"force_sync": True}


def test_the_life_of_an_entry(site: Site) -> None:
    entry = f"{MAP}/entries/a.example.com"

    answer = site.route("a.example.com", "cp_slot_1")
    assert (answer.status_code, answer.json()["value"]) == (201, "cp_slot_1")
    assert site.get("a.example.com") == 503
    assert site.route("a.example.com", "cp_slot_2").status_code == 409
    assert site.api.get(entry).json() == {"key": "a.example.com", "value": "cp_slot_1"}
    answer = site.api.put(entry, json={"value": "cp_none"})
    assert (answer.status_code, answer.json()["value"]) == (200, "cp_none")
    assert site.get("a.example.com") == 404
    assert [site.api.delete(entry).status_code for _ in range(2)] == [204, 404]
    assert site.entries() == {}


def test_maps_are_listed_by_the_names_of_their_files(site: Site) -> None:
    (known,) = site.api.get(f"{RUNTIME}/maps").json()

    assert (known["storage_name"], known["file"]) == ("host.map", str(site.map_file))
    assert site.api.get(MAP).json()["file"] == str(site.map_file)


def test_an_unknown_map_is_absent_or_a_mistake(site: Site) -> None:
    assert site.api.get(UNKNOWN).status_code == 404
    assert site.api.get(f"{UNKNOWN}/entries").status_code == 404
    assert site.api.post(f"{UNKNOWN}/entries", json={"key": "a", "value": "b"}).status_code == 400
    assert site.api.delete(f"{UNKNOWN}/entries/a").status_code == 404


def test_an_unknown_entry_is_absent(site: Site) -> None:
    entry = f"{MAP}/entries/nosuch"

    assert site.api.get(entry).status_code == 404
    assert site.api.put(entry, json={"value": "b"}).status_code == 404


def test_an_entry_without_sync_is_not_in_the_file_and_lost_with_the_worker(site: Site) -> None:
    site.route("a.example.com")
    assert site.map_file.read_text() == ""

    site.post(site.base)

    assert site.entries() == {}


def test_a_sync_writes_all_in_order_and_drops_comments(site: Site) -> None:
    site.map_file.write_text("# kept by hand\nz.example.com cp_none\n")
    site.post(site.base)

    site.route("b.example.com", sync=False)
    site.route("a.example.com", sync=True)

    assert site.map_file.read_text().splitlines() == [
        "a.example.com cp_slot_1",
        "b.example.com cp_slot_1",
        "z.example.com cp_none",
    ]


@pytest.mark.parametrize("change", ["put", "delete"])
def test_changes_are_synced_too(site: Site, change: str) -> None:
    site.route("a.example.com", sync=True)
    entry = f"{MAP}/entries/a.example.com"

    if change == "put":
        site.api.put(entry, params=SYNC, json={"value": "cp_none"})
        assert site.map_file.read_text() == "a.example.com cp_none\n"
    else:
        site.api.delete(entry, params=SYNC)
        assert site.map_file.read_text() == ""


def test_an_entry_whose_sync_failed_is_live(site: Site) -> None:
    site.map_file.unlink()

    assert site.route("a.example.com", sync=True).status_code == 500
    assert site.entries() == {"a.example.com": "cp_slot_1"}
    site.map_file.touch()
    # The same call again says that it is there, and writes nothing.
    assert site.route("a.example.com", sync=True).status_code == 409
    assert site.map_file.read_text() == ""
    answer = site.api.put(f"{MAP}/entries/a.example.com", params=SYNC, json={"value": "cp_slot_1"})
    assert (answer.status_code, site.map_file.read_text()) == (200, "a.example.com cp_slot_1\n")


def many(count: int) -> list[dict[str, Any]]:
    return [{"key": f"host-{n}.example.com", "value": "cp_slot_1"} for n in range(count)]


def test_a_short_list_is_added_even_twice(site: Site) -> None:
    site.route("a.example.com")
    assert site.api.put(MAP, json=many(3)).status_code == 201
    assert site.api.put(MAP, json=many(3)).status_code == 201

    assert len(site.api.get(f"{MAP}/entries").json()) == 7


def test_a_long_list_takes_the_place_of_all(site: Site) -> None:
    site.route("a.example.com")
    assert site.api.put(MAP, json=many(400)).status_code == 201

    assert site.entries() == {entry["key"]: entry["value"] for entry in many(400)}


def test_an_empty_list_is_a_panic(site: Site) -> None:
    answer = site.api.put(MAP, json=[])

    assert (answer.status_code, "configuration-version" in answer.headers) == (500, False)


def test_a_map_can_be_emptied(site: Site) -> None:
    site.route("a.example.com", sync=True)

    assert site.api.delete(MAP, params=SYNC).status_code == 204
    assert (site.entries(), site.map_file.read_text()) == ({}, "")


def test_keys_that_are_no_host_names(site: Site) -> None:
    assert site.route("*.example.com").status_code == 201
    for method in ("GET", "DELETE"):
        answer = site.api.request(method, f"{MAP}/entries/*.example.com", extensions=BROKEN)
        assert (answer.status_code, answer.json()["code"]) == (422, 605)
    assert site.route("semi;colon").status_code == 400


def test_a_space_cuts_a_key(site: Site) -> None:
    assert site.route("with space").status_code == 201

    assert site.entries() == {"with": "space"}


def test_none_of_many_at_once_is_lost_without_a_reload(site: Site) -> None:
    names = [f"host-{n}.example.com" for n in range(40)]
    with ThreadPoolExecutor(4) as pool:
        statuses = set(pool.map(lambda name: site.route(name, sync=True).status_code, names))

    assert statuses == {201}
    assert site.entries().keys() == set(names)
    # Not so the file: syncs at once write it at once. The next one alone puts it right.
    site.route("last.example.com", sync=True)
    written = [line.split()[0] for line in site.map_file.read_text().splitlines()]
    assert written == sorted([*names, "last.example.com"])
