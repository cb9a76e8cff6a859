"""What is told of the Data Plane and of HAProxy, and who may ask."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from harness.polling import until
from tests.conformance.contract import BROKEN
from tests.conformance.site import CONFIGURATION, RUNTIME, S, Site

MakeSite = Callable[..., Site]


def test_info_is_of_the_worker(site: Site) -> None:
    info = site.api.get(f"{RUNTIME}/info").json()["info"]

    assert site.dataplane.sockets.worker_pid() == info["pid"]
    assert info["version"].split(".")[0] in {"2", "3"}


def test_health_is_unknown_without_a_status_command(site: Site) -> None:
    assert site.api.get("/health").json() == {"haproxy": "unknown"}


def test_health_is_what_the_status_command_says_whatever_haproxy_does(make_site: MakeSite) -> None:
    site = make_site(settings={"haproxy": {"reload": {"status_cmd": "true"}}})
    site.dataplane.haproxy.kill()

    assert site.api.get("/health").json() == {"haproxy": "up"}


def test_the_program_tells_a_version(site: Site) -> None:
    assert site.api.get("/info").json()["api"]["version"]


@pytest.mark.parametrize("path", ["/specification", "/specification_openapiv3"])
def test_the_document_tells_the_version_of_the_api_and_its_paths(site: Site, path: str) -> None:
    document = site.api.get(path).json()

    assert document["info"]["version"] == "3.2"
    assert f"{CONFIGURATION}/raw" in document["paths"]


def test_every_answer_carries_the_version(site: Site) -> None:
    answers = [
        site.api.get(f"{RUNTIME}/info"),
        site.api.get(f"{RUNTIME}/backends/cp_unknown/servers"),
        site.api.get(f"{S}/nosuch", extensions=BROKEN),
    ]

    assert [str(site.version())] * 3 == [a.headers["configuration-version"] for a in answers]


def test_an_unknown_path_is_absent_as_anything_else(site: Site) -> None:
    answer = site.api.get(f"{S}/nosuch", extensions=BROKEN)

    assert answer.status_code == 404
    assert answer.json() == {"code": 404, "message": f"path /v3{S}/nosuch was not found"}


@pytest.mark.parametrize("auth", [None, ("frontserver", "wrong"), ("nobody", "")])
def test_the_password_is_asked_for(site: Site, auth: tuple[str, str] | None) -> None:
    url = f"{site.dataplane.url}/v3{CONFIGURATION}/version"
    answer = httpx.get(url, auth=auth, trust_env=False)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="API"'
    assert answer.json()["code"] == 401


def test_a_client_certificate_is_wanted_and_enough(make_site: MakeSite) -> None:
    site = make_site(tls=True)
    trust = ssl.create_default_context(cafile=site.dataplane.ca_file)

    assert site.version() > 0
    with pytest.raises(httpx.TransportError):
        httpx.get(
            f"{site.dataplane.url}/v3{CONFIGURATION}/version",
            verify=trust,
            auth=(site.dataplane.user, site.dataplane.password),
            trust_env=False,
        )


def test_figures_of_one_backend(site: Site) -> None:
    answer = site.api.get(f"{S}/stats/native", params={"type": "backend", "name": "cp_none"})

    (row,) = answer.json()["stats"]
    assert (row["name"], row["type"], row["stats"]["status"]) == ("cp_none", "backend", "UP")


def test_states_are_in_haproxys_own_words(site: Site) -> None:
    server = f"{RUNTIME}/backends/cp_slot_1/servers"
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        checked = f"option httpchk\n  server s1 127.0.0.1:{port} check inter 20s"
        text = f"{site.base}\nbackend cp_mute from cp_defaults\n  {checked}\n"
        site.post(text).raise_for_status()
        site.api.post(server, json={"name": "s1", "address": "127.0.0.1", "port": 80})
        site.api.put(f"{server}/s1", json={"admin_state": "drain"})
        until("the check has begun", lambda: figures(site, "cp_mute")["check_status"] == "* INI")

        assert figures(site, "cp_mute")["status"] == "UP 1/3"
        assert figures(site, "cp_slot_1")["status"] == "DRAIN"
        assert figures(site, "cp_http")["status"] == "OPEN"


def figures(site: Site, proxy: str) -> dict[str, Any]:
    """HAProxy's figures of a frontend, or of the server `s1` of a backend."""
    rows = site.api.get(f"{S}/stats/native").json()["stats"]
    return next(
        dict(row["stats"])
        for row in rows
        if (row["type"], row["name"]) == ("frontend", proxy)
        or (row.get("backend_name"), row["name"]) == (proxy, "s1")
    )


def test_figures_by_name_need_a_type(site: Site) -> None:
    assert site.api.get(f"{S}/stats/native", params={"name": "cp_none"}).status_code == 400
