"""TLS material in HAProxy's memory, as the real API answers about it."""

from __future__ import annotations

import pytest

from frontserver.dataplane.errors import AbsentError, BusyError, UnsayableError
from tests.unit.dataplane.answering import SOCKET, Api, refused

CA_FILES = "/runtime/ssl_ca_files"
LIST = "/runtime/ssl_crt_lists/entries"


def certificate(size: int = 40) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{'x' * size}\n-----END CERTIFICATE-----\n"


def uploaded(api: Api) -> list[str]:
    """The files of all uploads so far, by the order of the calls."""
    bodies = [request.content.decode() for request in api.requests if request.method != "GET"]
    return [body.split("\r\n\r\n", 1)[1].rsplit("\r\n--", 1)[0] for body in bodies]


def api_with_ca_files(*names: str) -> Api:
    api = Api()
    listed = ",".join(f'{{"count":"1 certificate(s)","storage_name":"{name}"}}' for name in names)
    api.says(f"GET {CA_FILES}", (200, f"[{listed}]"))
    return api


async def test_a_new_ca_bundle_is_uploaded_with_an_empty_line_at_its_end() -> None:
    api = api_with_ca_files("@system-ca")
    api.says(f"POST {CA_FILES}", (201, ""))

    await api.client().runtime.put_ca_file("agents.pem", certificate().rstrip("\n"))

    assert uploaded(api) == [certificate() + "\n"]
    assert b'name="file_upload"; filename="agents.pem"' in api.requests[-1].content


async def test_a_ca_bundle_that_is_there_is_replaced() -> None:
    api = api_with_ca_files("agents.pem")
    api.says(f"PUT {CA_FILES}/agents.pem", (201, ""))

    await api.client().runtime.put_ca_file("agents.pem", certificate() * 2)

    assert uploaded(api) == [certificate() * 2 + "\n"]


async def test_a_large_ca_bundle_goes_in_parts_that_haproxy_takes() -> None:
    api = api_with_ca_files()
    api.says(f"POST {CA_FILES}", (201, ""))
    api.says(f"POST {CA_FILES}/agents.pem/entries", (201, ""))
    bundle = [certificate(size) for size in (6000, 6001, 6002, 6003, 6004)]

    await api.client().runtime.put_ca_file("agents.pem", "".join(bundle))

    parts = uploaded(api)
    assert all(len(part) < 15_000 for part in parts)
    assert parts == [
        bundle[0] + bundle[1] + "\n",
        bundle[2] + bundle[3] + "\n",
        bundle[4] + "\n",
    ]


async def test_a_certificate_that_haproxy_does_not_take_at_once_is_not_sent() -> None:
    """HAProxy would take its second half for commands."""
    api = api_with_ca_files()

    with pytest.raises(UnsayableError, match="certificate of 15"):
        await api.client().runtime.put_ca_file("agents.pem", certificate() + certificate(15_000))

    assert api.requests == []


async def test_a_ca_bundle_is_deleted_unless_it_is_used_or_gone() -> None:
    api = Api()
    path = f"DELETE {CA_FILES}/agents.pem"
    gone = f"{SOCKET} [3]  Can't remove the CA file: CA file 'agents.pem' doesn't exist! [del] x"
    used = (
        f"{SOCKET} [3]  Can't delete the CA file: it is in use! [del ssl ca-file x] general error"
    )
    api.says(path, (204, ""), refused(500, gone), refused(500, used))
    runtime = api.client().runtime

    assert await runtime.delete_ca_file("agents.pem")
    assert not await runtime.delete_ca_file("agents.pem")
    with pytest.raises(BusyError):
        await runtime.delete_ca_file("agents.pem")


async def test_certificates_are_called_by_their_paths() -> None:
    api = Api()
    api.says("GET /runtime/ssl_certs", (200, '[{"description":"a","storage_name":"/ssl/a.pem"}]'))
    api.says("DELETE /runtime/ssl_certs/%2Fssl%2Fa.pem", (204, ""))
    runtime = api.client().runtime

    assert await runtime.certificates() == ("/ssl/a.pem",)
    assert await runtime.delete_certificate("/ssl/a.pem")


async def test_a_crt_list_gets_an_entry_once() -> None:
    api = Api()
    name = "%2Fssl%2Flist.txt"
    api.says(f"GET {LIST}?name={name}", (200, '[{"file":"/ssl/a.pem","line_number":1}]'))
    api.says(f"POST {LIST}?name={name}", (201, ""))
    runtime = api.client().runtime

    await runtime.put_crt_list_entry("/ssl/list.txt", "/ssl/a.pem")
    assert len(api.requests) == 1
    await runtime.put_crt_list_entry("/ssl/list.txt", "/ssl/b.pem")
    assert api.sent == {"file": "/ssl/b.pem"}


async def test_a_crt_list_loses_an_entry_once() -> None:
    api = Api()
    line = f"DELETE {LIST}?name=%2Fssl%2Flist.txt&cert_file=%2Fssl%2Fa.pem"
    gone = f"{SOCKET} [3]  Can't delete the entry: doesn't exist! [del ssl crt-list x y] not found"
    api.says(line, (204, ""), refused(404, gone))
    runtime = api.client().runtime

    assert await runtime.delete_crt_list_entry("/ssl/list.txt", "/ssl/a.pem")
    assert not await runtime.delete_crt_list_entry("/ssl/list.txt", "/ssl/a.pem")


async def test_a_crt_list_that_haproxy_does_not_have_is_absent() -> None:
    api = Api()
    api.says(f"GET {LIST}", refused(404, f"{SOCKET} [3]  didn't find the specified filename [x]"))

    with pytest.raises(AbsentError):
        await api.client().runtime.put_crt_list_entry("/ssl/list.txt", "/ssl/a.pem")
