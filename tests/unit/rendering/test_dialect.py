"""The file backend's way of writing a configuration down: everything, by relative names."""

from __future__ import annotations

from frontserver.planning.compile import HTTP_PROFILE
from frontserver.planning.compiled import HTTPS_CERTIFICATE, MAPS, CompiledRoute, Server
from frontserver.planning.running import UnknownServer
from frontserver.rendering.dialect import Dialect, ServerLine
from tests.unit.planning.routes import http

SERVER = Server("10.0.0.1", 3000, weight=7)


def test_files_are_called_as_they_are() -> None:
    dialect = Dialect()
    assert dialect.place(HTTPS_CERTIFICATE) == HTTPS_CERTIFICATE
    assert all(name.startswith(dialect.maps) for name in MAPS)


def test_the_whole_process_is_ours() -> None:
    assert Dialect().process


def test_a_slot_has_its_routes_servers() -> None:
    unknown = UnknownServer("10.0.0.2", 1, found_name="stray")
    route = CompiledRoute(http().key, HTTP_PROFILE, (SERVER, unknown), ())

    assert Dialect().servers(HTTP_PROFILE, route) == [
        ServerLine(SERVER.name, "10.0.0.1:3000 weight 7")
    ]


def test_an_empty_slot_has_none() -> None:
    assert Dialect().servers(HTTP_PROFILE, None) == []
