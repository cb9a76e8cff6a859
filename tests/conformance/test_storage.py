"""Files that are stored for HAProxy."""

from __future__ import annotations

import pytest

from tests.conformance.contract import BROKEN
from tests.conformance.site import RAW, STORAGE, TEXT, Site

MAPS, GENERAL = f"{STORAGE}/maps", f"{STORAGE}/general"
CRT_LISTS = f"{STORAGE}/ssl_crt_lists"


def upload(name: str, content: str) -> dict[str, tuple[str, bytes]]:
    return {"file_upload": (name, content.encode())}


def test_the_life_of_a_map(site: Site) -> None:
    answer = site.api.post(MAPS, files=upload("new.map", "a b\n"))
    told = answer.json()
    assert (answer.status_code, told["storage_name"], told["size"]) == (201, "new.map", 4)
    assert told["file"] == str(site.files.maps / "new.map")
    assert site.api.post(MAPS, files=upload("new.map", "c d\n")).status_code == 409
    assert [known["storage_name"] for known in site.api.get(MAPS).json()] == ["host.map", "new.map"]
    assert site.api.get(f"{MAPS}/new.map").text == "a b\n"
    assert site.api.delete(f"{MAPS}/new.map").status_code == 204
    assert not (site.files.maps / "new.map").exists()


def test_an_empty_map_is_a_map(site: Site) -> None:
    assert site.api.post(MAPS, files=upload("empty.map", "")).status_code == 201


@pytest.mark.parametrize(
    ("given", "stored"),
    [("plain", "plain.map"), ("www.example.com.map", "www_example_com.map")],
    ids=["an ending", "dots"],
)
def test_names_are_changed(site: Site, given: str, stored: str) -> None:
    assert site.api.post(MAPS, files=upload(given, "")).json()["storage_name"] == stored


def test_a_stored_map_is_the_file_alone(site: Site) -> None:
    worker, version = site.worker(), site.version()
    query = {"skip_reload": True}
    text = "a.example.com cp_slot_1\n"

    answer = site.api.put(f"{MAPS}/host.map", params=query, content=text, headers=TEXT)

    assert (answer.status_code, site.map_file.read_text()) == (204, text)
    assert (site.entries(), site.worker(), site.version()) == ({}, worker, version)


def test_a_stored_map_can_come_with_a_reload(site: Site) -> None:
    worker, version = site.worker(), site.version()
    text = "a.example.com cp_slot_1\n"
    query = {"force_reload": True}

    answer = site.api.put(f"{MAPS}/host.map", params=query, content=text, headers=TEXT)

    assert (answer.status_code, site.entries()) == (204, {"a.example.com": "cp_slot_1"})
    assert (site.worker() == worker, site.version()) == (False, version)


def test_a_stored_map_comes_with_a_reload_later_if_nothing_is_said(site: Site) -> None:
    answer = site.api.put(f"{MAPS}/host.map", content="a cp_none\n", headers=TEXT)

    assert (answer.status_code, answer.text) == (202, "")
    assert site.wait_for_reload(answer.headers["reload-id"])["status"] == "succeeded"
    assert site.entries() == {"a": "cp_none"}


def test_a_map_cannot_be_replaced_by_nothing(site: Site) -> None:
    query = {"skip_reload": True}
    answer = site.api.put(
        f"{MAPS}/host.map", params=query, content="", headers=TEXT, extensions=BROKEN
    )

    assert answer.status_code == 422


def test_an_upload_needs_a_file(site: Site) -> None:
    assert site.api.post(MAPS, extensions=BROKEN).status_code == 400


def test_a_map_in_use_cannot_be_deleted(site: Site) -> None:
    answer = site.api.delete(f"{MAPS}/host.map")

    assert answer.status_code == 409
    assert "referenced in haproxy conf" in answer.json()["message"]


def test_without_its_map_every_commit_is_refused(site: Site) -> None:
    site.map_file.unlink()

    assert site.post(site.base).status_code == 400
    site.map_file.touch()
    assert site.post(site.base).status_code == 201


@pytest.mark.parametrize("place", [MAPS, GENERAL, CRT_LISTS])
def test_an_error_about_a_file_is_json_under_another_name(site: Site, place: str) -> None:
    answer = site.api.get(f"{place}/nosuch.txt")

    assert (answer.status_code, answer.json()["code"]) == (404, 404)
    assert answer.headers["content-type"] == "application/octet-stream"


def test_other_files(site: Site) -> None:
    file = f"{GENERAL}/page.http"
    assert site.api.post(GENERAL, files=upload("page.http", "one")).status_code == 201
    assert site.api.post(GENERAL, files=upload("page.http", "one")).status_code == 409
    query = {"skip_reload": True}
    assert site.api.put(file, params=query, files=upload("page.http", "two")).status_code == 204
    assert site.api.get(file).text == "two"
    assert [known["storage_name"] for known in site.api.get(GENERAL).json()] == ["page.http"]
    assert site.api.delete(file).status_code == 204


def test_crt_lists(site: Site) -> None:
    other = f"{CRT_LISTS}/other.txt"
    answer = site.api.post(CRT_LISTS, files=upload("other.txt", "# none yet"))
    assert (answer.status_code, "reload-id" in answer.headers) == (202, True)
    site.wait_for_reload(answer.headers["reload-id"])
    assert site.api.get(other).text == "# none yet\n"
    assert site.api.post(CRT_LISTS, files=upload("other.txt", "#\n")).status_code == 409
    names = [known["storage_name"] for known in site.api.get(CRT_LISTS).json()]
    assert names == ["list.txt", "other.txt"]
    assert site.api.delete(other, params={"skip_reload": True}).status_code == 204
    assert site.api.delete(f"{CRT_LISTS}/list.txt").status_code == 409


def test_a_crt_list_can_be_uploaded_with_a_reload(site: Site) -> None:
    query = {"force_reload": True}
    answer = site.api.post(CRT_LISTS, params=query, files=upload("other.txt", "# none yet\n"))

    assert (answer.status_code, "reload-id" in answer.headers) == (201, False)


def test_an_empty_crt_list_is_a_panic(site: Site) -> None:
    answer = site.api.post(CRT_LISTS, files=upload("other.txt", ""))

    assert (answer.status_code, "configuration-version" in answer.headers) == (500, False)
    assert site.api.get(RAW).status_code == 200
