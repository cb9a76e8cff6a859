"""Certificates: stored, served, renewed, removed, all without a reload; and what poisons."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from harness.certificates import ThrowawayCa
from harness.dataplane_files import OPERATOR_CONFIG
from tests.conformance.site import (
    CRT_LIST_ENTRIES,
    RUNTIME,
    STORAGE,
    TEXT,
    Site,
    opened,
    quoted,
)

CERTIFICATES = f"{STORAGE}/ssl_certificates"
CRT_LIST = f"{STORAGE}/ssl_crt_lists/list.txt"
CA_FILES = f"{RUNTIME}/ssl_ca_files"
SKIP = {"skip_reload": True}
NAME = "shop.example.com"
KEY = "-----BEGIN PRIVATE KEY"

# HAProxy hangs up on a command that doesn't end after this; otherwise ten seconds.
IMPATIENT = OPERATOR_CONFIG.replace("global\n", "global\n    stats timeout 2s\n")


def upload(name: str, pem: str) -> dict[str, tuple[str, bytes]]:
    return {"file_upload": (name, pem.encode())}


def issued(site: Site, name: str = NAME) -> tuple[str, int]:
    """A new certificate with its key, and its serial number."""
    pem = site.ca.issue(name).read_text()
    return pem, x509.load_pem_x509_certificate(pem.encode()).serial_number


def serve(site: Site, pem: str) -> None:
    """Store a certificate, put it on the list, and have HAProxy serve it."""
    path = site.files.certificates / "shop.pem"
    assert site.api.post(CERTIFICATES, files=upload("shop.pem", pem)).status_code == 201
    listed = f"{site.crt_list.read_text()}{path}\n"
    answer = site.api.put(CRT_LIST, params=SKIP, content=listed, headers=TEXT)
    assert answer.status_code == 200
    query = {"name": str(site.crt_list)}
    added = site.api.post(CRT_LIST_ENTRIES, params=query, json={"file": str(path)})
    assert added.status_code == 201


def test_a_certificate_is_served_without_a_reload_and_stays(site: Site) -> None:
    pem, serial = issued(site)
    worker = site.worker()
    assert site.served(NAME) is None

    serve(site, pem)

    assert (site.served(NAME), site.worker()) == (serial, worker)
    site.post(site.base)
    assert site.served(NAME) == serial


def test_a_renewed_one_is_served_at_once(site: Site) -> None:
    serve(site, issued(site)[0])
    pem, serial = issued(site)
    worker = site.worker()

    answer = site.api.put(f"{CERTIFICATES}/shop.pem", content=pem, headers=TEXT)

    assert (answer.status_code, site.served(NAME), site.worker()) == (200, serial, worker)


def test_a_removed_one_is_served_no_longer(site: Site) -> None:
    serve(site, issued(site)[0])
    path = site.files.certificates / "shop.pem"
    default = site.files.certificates / "default.pem"
    loaded = f"{RUNTIME}/ssl_certs/{quoted(path)}"
    assert site.api.delete(loaded).status_code == 500

    query = {"name": str(site.crt_list), "cert_file": str(path)}
    assert site.api.delete(CRT_LIST_ENTRIES, params=query).status_code == 204
    site.api.put(CRT_LIST, params=SKIP, content=f"{default}\n", headers=TEXT)
    assert site.api.delete(loaded).status_code == 204
    answer = site.api.delete(f"{CERTIFICATES}/shop.pem", params=SKIP)

    assert (answer.status_code, site.served(NAME)) == (204, None)
    assert site.api.get(loaded).status_code == 404


def test_what_is_told_of_a_stored_one(site: Site) -> None:
    pem, serial = issued(site)
    told = site.api.post(CERTIFICATES, params=SKIP, files=upload("shop.pem", pem)).json()

    assert told == site.api.get(f"{CERTIFICATES}/shop.pem").json()
    assert (told["subject"], told["domains"], told["serial"]) == (NAME, NAME, str(serial))
    names = [known["storage_name"] for known in site.api.get(CERTIFICATES).json()]
    assert names == ["default.pem", "shop.pem"]


def test_what_is_told_of_a_loaded_one(site: Site) -> None:
    pem, serial = issued(site)
    path = site.files.certificates / "shop.pem"
    site.api.post(CERTIFICATES, files=upload("shop.pem", pem))

    told = site.api.get(f"{RUNTIME}/ssl_certs/{quoted(path)}").json()
    assert (int(told["serial"], 16), told["status"]) == (serial, "Unused")
    assert told["subject_alternative_names"] == f"DNS:{NAME}"
    loaded = {known["storage_name"] for known in site.api.get(f"{RUNTIME}/ssl_certs").json()}
    assert str(path) in loaded
    assert site.api.get(f"{RUNTIME}/ssl_certs/shop.pem").status_code == 404


def test_names_lose_their_dots(site: Site) -> None:
    pem, _ = issued(site)
    answer = site.api.post(CERTIFICATES, params=SKIP, files=upload(f"{NAME}.pem", pem))

    assert answer.json()["storage_name"] == "shop_example_com.pem"


def test_one_that_is_only_stored_cannot_be_put_on_the_list(site: Site) -> None:
    site.api.post(CERTIFICATES, params=SKIP, files=upload("shop.pem", issued(site)[0]))
    file = str(site.files.certificates / "shop.pem")
    query = {"name": str(site.crt_list)}

    assert site.api.post(CRT_LIST_ENTRIES, params=query, json={"file": file}).status_code == 500


def test_entries_of_a_list(site: Site) -> None:
    query = {"name": str(site.crt_list)}
    default = str(site.files.certificates / "default.pem")

    entries = site.api.get(CRT_LIST_ENTRIES, params=query).json()
    assert [(entry["file"], entry["line_number"]) for entry in entries] == [(default, 1)]
    assert {"file": str(site.crt_list)} in site.api.get(f"{RUNTIME}/ssl_crt_lists").json()
    unknown = site.api.get(CRT_LIST_ENTRIES, params={"name": "nosuch"})
    assert unknown.status_code == 404


def test_a_name_twice_and_rubbish_are_refused(site: Site) -> None:
    pem, _ = issued(site)
    before = (site.files.certificates / "default.pem").read_text()

    assert site.api.post(CERTIFICATES, files=upload("default.pem", pem)).status_code == 409
    assert site.api.post(CERTIFICATES, files=upload("new.pem", "rubbish\n")).status_code == 500
    certificate = pem[: pem.index(KEY)]
    assert site.api.post(CERTIFICATES, files=upload("new.pem", certificate)).status_code == 500
    rubbish = site.api.put(f"{CERTIFICATES}/default.pem", content="rubbish\n", headers=TEXT)
    assert rubbish.status_code == 500
    assert (site.files.certificates / "default.pem").read_text() == before


def test_another_ones_key_poisons_every_commit(site: Site) -> None:
    path = f"{CERTIFICATES}/default.pem"
    before = (site.files.certificates / "default.pem").read_text()
    other = issued(site)[0]
    mixed = before[: before.index(KEY)] + other[other.index(KEY) :]

    answer = site.api.put(path, content=mixed, headers=TEXT)

    assert answer.status_code == 202
    assert (site.files.certificates / "default.pem").read_text() == mixed
    assert site.wait_for_reload(answer.headers["reload-id"])["status"] == "failed"
    assert site.post(site.base).status_code == 400
    site.api.put(path, params=SKIP, content=before, headers=TEXT)
    assert site.post(site.base).status_code == 201


def test_a_crt_list_does_not_protect_its_certificates(site: Site) -> None:
    answer = site.api.delete(f"{CERTIFICATES}/default.pem", params=SKIP)

    assert answer.status_code == 204
    assert site.post(site.base).status_code == 400


# --- what HAProxy waits for the end of, and everybody else waits for that ---


@pytest.fixture(scope="module")
def impatient(haproxy: Path, program: Path | None) -> Iterator[Site]:
    """A site whose HAProxy hangs up early on a command that doesn't end."""
    with opened(haproxy, program, operator=IMPATIENT) as site:
        yield site


def test_a_pem_without_an_end_is_left_to_a_reload(impatient: Site) -> None:
    pem, _ = issued(impatient)
    answer = impatient.api.post(CERTIFICATES, files=upload("shop.pem", pem.rstrip("\n")))

    assert answer.status_code == 202
    told = impatient.wait_for_reload(answer.headers["reload-id"])
    assert told["status"] == "succeeded"


def test_an_entry_with_a_filter_adds_nothing(impatient: Site) -> None:
    query = {"name": str(impatient.crt_list)}
    default = str(impatient.files.certificates / "default.pem")
    entry = {"file": default, "sni_filter": [NAME]}

    assert impatient.api.post(CRT_LIST_ENTRIES, params=query, json=entry).status_code == 500
    assert len(impatient.api.get(CRT_LIST_ENTRIES, params=query).json()) == 1


def test_a_ca_file_that_does_not_end_in_an_empty_line_stays_empty(impatient: Site) -> None:
    answer = impatient.api.post(CA_FILES, files=upload("hung.pem", impatient.ca.pem))

    assert answer.status_code == 500
    told = impatient.api.get(f"{CA_FILES}/hung.pem").json()
    assert told["count"] == "0 certificate(s)"


# --- what HAProxy has without the configuration ---


def test_the_life_of_a_ca_file(site: Site) -> None:
    file, pem = f"{CA_FILES}/ours.pem", f"{site.ca.pem}\n"

    assert site.api.post(CA_FILES, files=upload("ours.pem", pem)).status_code == 201
    assert site.api.get(file).json() == {
        "storage_name": "ours.pem",
        "count": "1 certificate(s)",
    }
    assert site.api.put(file, files=upload("ours.pem", pem)).is_success
    assert "ours.pem" in [known["storage_name"] for known in site.api.get(CA_FILES).json()]
    assert site.api.delete(file).status_code == 204
    assert site.api.get(file).status_code == 404


def test_a_ca_file_takes_more_certificates(site: Site) -> None:
    entries, more = f"{CA_FILES}/ours.pem/entries", upload("ours.pem", f"{site.ca.pem}\n")
    absent = site.api.post(entries, files=more)
    assert (absent.status_code, absent.json()["code"]) == (500, 500)
    assert site.api.post(CA_FILES, files=more).status_code == 201

    other = ThrowawayCa(site.files.directory / "others")
    added = site.api.post(entries, files=upload("ours.pem", f"{other.pem}\n"))

    assert (added.status_code, added.content) == (201, b"")
    assert site.api.get(f"{CA_FILES}/ours.pem").json()["count"] == "2 certificate(s)"
    assert site.api.delete(f"{CA_FILES}/ours.pem").status_code == 204


def test_a_certificate_can_be_loaded_without_a_file(site: Site) -> None:
    """By a name without a path: what configurations load can't be made this way."""
    pem, serial = issued(site)
    name = str(site.files.certificates / "shop.pem")
    answer = site.api.post(f"{RUNTIME}/ssl_certs", files=upload(name, pem))

    assert answer.status_code == 201
    loaded = site.api.get(f"{RUNTIME}/ssl_certs/shop.pem").json()
    assert int(loaded["serial"], 16) == serial
    renewed, serial = issued(site)
    site.api.put(f"{RUNTIME}/ssl_certs/shop.pem", files=upload("shop.pem", renewed))
    loaded = site.api.get(f"{RUNTIME}/ssl_certs/shop.pem").json()
    assert int(loaded["serial"], 16) == serial
    assert site.api.delete(f"{RUNTIME}/ssl_certs/shop.pem").status_code == 204
