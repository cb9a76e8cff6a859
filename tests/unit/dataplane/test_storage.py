"""Stored files, as the real API answers about them."""

from __future__ import annotations

import httpx
import pytest

from frontserver.dataplane.errors import (
    BusyError,
    OutcomeUnknownError,
    ReloadFailedError,
    UnsayableError,
)
from frontserver.dataplane.storage import StoredFile
from tests.unit.dataplane.answering import Api, Said, refused

MAPS = "/storage/maps"
CERTIFICATES = "/storage/ssl_certificates"
LISTS = "/storage/ssl_crt_lists"
GENERAL = "/storage/general"
PEM = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"


def stored(name: str) -> str:
    return f'{{"description":"x","file":"/data/{name}","size":9,"storage_name":"{name}"}}'


def exists(name: str) -> Said:
    return refused(409, f"object already exists: file /data/{name} already exists")


def missing(name: str) -> Said:
    return refused(404, f"missing object: file {name} doesn't exist in dir: /data")


async def test_files_are_listed_with_the_path_that_haproxy_knows() -> None:
    api = Api()
    for kind in (MAPS, CERTIFICATES, LISTS, GENERAL):
        api.says(f"GET {kind}", (200, f"[{stored('a')}]"))
    storage = api.client().storage

    for files in (storage.maps, storage.certificates, storage.crt_lists, storage.general):
        assert await files() == (StoredFile("a", "/data/a"),)


async def test_a_map_is_created() -> None:
    api = Api()
    api.says(f"POST {MAPS}", (201, stored("hosts.map")))

    created = await api.client().storage.create_map("hosts.map", "a b\n")

    assert created == StoredFile("hosts.map", "/data/hosts.map")
    (request,) = api.requests
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b'filename="hosts.map"\r\n' in request.content
    assert b"\r\n\r\na b\n\r\n--" in request.content


async def test_creating_a_map_that_is_there_replaces_it() -> None:
    api = Api()
    api.says(f"POST {MAPS}", exists("hosts.map"))
    api.says(f"PUT {MAPS}/hosts.map?skip_reload=true", (204, ""))
    api.says(f"GET {MAPS}", (200, f"[{stored('other.map')},{stored('hosts.map')}]"))

    created = await api.client().storage.create_map("hosts.map", "a b\n")

    assert created.path == "/data/hosts.map"
    assert api.requests[1].content == b"a b\n"


async def test_replacing_a_map_that_is_absent_creates_it() -> None:
    api = Api()
    api.says(f"PUT {MAPS}/hosts.map", missing("hosts.map"))
    api.says(f"POST {MAPS}", (201, stored("hosts.map")))

    await api.client().storage.replace_map("hosts.map", "a b\n")

    assert [line.split("?")[0] for line in api.lines] == [f"PUT {MAPS}/hosts.map", f"POST {MAPS}"]


async def test_an_emptied_map_is_an_empty_line() -> None:
    api = Api()
    api.says(f"PUT {MAPS}/hosts.map", (204, ""))

    await api.client().storage.replace_map("hosts.map", "")

    assert api.requests[0].content == b"\n"


async def test_whole_files_are_written_again_if_the_connection_is_lost() -> None:
    api = Api()
    api.says(f"PUT {MAPS}/hosts.map", httpx.ReadError("reset"), (204, ""))

    await api.client().storage.replace_map("hosts.map", "a b\n")

    assert len(api.requests) == 2


async def test_a_map_is_deleted_unless_it_is_used_or_gone() -> None:
    api = Api()
    used = (
        "rejecting attempt to delete file /data/hosts.map referenced in haproxy conf at line 9: x"
    )
    api.says(f"DELETE {MAPS}/hosts.map", (204, ""), missing("hosts.map"), refused(409, used))
    storage = api.client().storage

    assert await storage.delete_map("hosts.map")
    assert not await storage.delete_map("hosts.map")
    with pytest.raises(BusyError):
        await storage.delete_map("hosts.map")


async def test_a_certificate_goes_to_haproxy_and_ends_with_a_newline() -> None:
    api = Api()
    api.says(f"PUT {CERTIFICATES}/a.pem", (200, stored("a.pem")))

    assert await api.client().storage.replace_certificate("a.pem", PEM) is None
    (request,) = api.requests
    assert request.content == PEM.encode() + b"\n"
    assert not request.url.query


async def test_a_certificate_that_haproxy_refuses_names_the_reload_to_come() -> None:
    api = Api()
    later = {"Reload-ID": "2026-11-26-1"}
    api.says(f"PUT {CERTIFICATES}/a.pem", (202, stored("a.pem"), later))
    api.says(f"POST {CERTIFICATES}", (202, stored("a.pem"), later))
    storage = api.client().storage

    assert await storage.replace_certificate("a.pem", PEM) == "2026-11-26-1"
    assert (await storage.create_certificate("a.pem", PEM)).reload == "2026-11-26-1"


@pytest.mark.parametrize(
    ("loaded", "change"),
    [("/data/a.pem", [f"POST {CERTIFICATES}", f"PUT {CERTIFICATES}/a.pem"]), (
        "/data/b.pem", [f"DELETE {CERTIFICATES}/a.pem?skip_reload=true", f"POST {CERTIFICATES}"]
    )],
)  # fmt: skip
async def test_a_certificate_that_is_there_reaches_haproxy_without_a_reload(
    loaded: str, change: list[str]
) -> None:
    api = Api()
    then = exists("a.pem") if loaded == "/data/a.pem" else (201, stored("a.pem"))
    api.says(f"POST {CERTIFICATES}", exists("a.pem"), then)
    api.says(f"GET {CERTIFICATES}", (200, f"[{stored('a.pem')}]"))
    api.says("GET /runtime/ssl_certs", (200, f'[{{"storage_name":"{loaded}"}}]'))
    api.says(f"DELETE {CERTIFICATES}/a.pem", (204, ""))
    api.says(f"PUT {CERTIFICATES}/a.pem", (200, stored("a.pem")))

    created = await api.client().storage.create_certificate("a.pem", PEM)

    assert created == StoredFile("a.pem", "/data/a.pem")
    assert [line for line in api.lines[1:] if not line.startswith("GET")] == change


async def test_an_empty_crt_list_holds_a_comment() -> None:
    api = Api()
    api.says(f"PUT {LISTS}/list.txt?skip_reload=true", (200, stored("list.txt")))

    await api.client().storage.replace_crt_list("list.txt", "")

    assert api.requests[0].content == b"# empty\n"


async def test_a_new_crt_list_names_the_reload_to_come() -> None:
    api = Api()
    api.says(f"POST {LISTS}", (202, stored("list.txt"), {"Reload-ID": "2026-11-26-0"}))

    created = await api.client().storage.create_crt_list("list.txt", "/data/a.pem\n")

    assert created == StoredFile("list.txt", "/data/list.txt", "2026-11-26-0")


async def test_any_other_file_is_replaced_as_it_is() -> None:
    api = Api()
    api.says(f"POST {GENERAL}", exists("ca.pem"))
    api.says(f"PUT {GENERAL}/ca.pem?skip_reload=true", (204, ""))
    api.says(f"GET {GENERAL}", (200, f"[{stored('ca.pem')}]"))

    assert (await api.client().storage.put_general("ca.pem", b"")).path == "/data/ca.pem"
    assert b"\r\n\r\n\r\n--" in api.requests[1].content


@pytest.mark.parametrize("name", ["hosts", "shop.example.map", "../hosts.map"])
async def test_a_name_that_the_api_would_change_is_not_sent(name: str) -> None:
    api = Api()

    with pytest.raises(UnsayableError):
        await api.client().storage.create_map(name, "a b\n")
    assert api.requests == []


async def test_a_map_is_loaded_with_the_whole_configuration() -> None:
    api = Api()
    api.says(f"PUT {MAPS}/hosts.map?force_reload=true", (204, ""))

    await api.client().storage.load_map("hosts.map", "")

    (request,) = api.requests
    assert request.content == b"\n"


async def test_a_map_whose_reload_failed_is_told_with_haproxys_words() -> None:
    api = Api()
    failed = "Reload failed: failed to reload configuration, [ALERT]    (7) : cannot bind :80"
    api.says(f"PUT {MAPS}/hosts.map?force_reload=true", refused(400, failed))

    with pytest.raises(ReloadFailedError, match="cannot bind :80"):
        await api.client().storage.load_map("hosts.map", "a b\n")


async def test_a_reload_of_which_nothing_was_heard_is_not_repeated() -> None:
    api = Api()
    lost = httpx.ReadError("connection reset")
    api.says(f"PUT {MAPS}/hosts.map?force_reload=true", lost)

    with pytest.raises(OutcomeUnknownError):
        await api.client().storage.load_map("hosts.map", "a b\n")

    assert len(api.requests) == 1
