"""Names of files, as the Data Plane API has them and as HAProxy reads them."""

from __future__ import annotations

import pytest

from frontserver.backends.dataplane.places import (
    DataPlaneDialect,
    Places,
    directory_of,
    file_name,
    is_certificate,
)
from frontserver.errors import ProxyUnavailableError
from frontserver.planning.compile import HTTP_PROFILE
from frontserver.planning.compiled import HOSTS, HTTPS_CERTIFICATE, MAPS, SYSTEM_CA
from tests.unit.planning.routes import config, http

PLACES = Places(maps="/etc/haproxy/maps", certificates="/etc/haproxy/ssl", general="/var/general")


def test_all_our_files_have_our_prefix_and_names_of_their_own() -> None:
    names = [file_name(name) for name in (*MAPS, HTTPS_CERTIFICATE, SYSTEM_CA)]
    assert all(name.startswith("fs-") for name in names)
    assert len(set(names)) == len(names)


def test_each_kind_of_file_has_its_directory() -> None:
    assert PLACES.of(HOSTS) == "/etc/haproxy/maps/fs-hosts.map"
    assert PLACES.of(HTTPS_CERTIFICATE) == "/etc/haproxy/ssl/fs-https.pem"
    assert PLACES.of("certs/ca-1.pem") == "/var/general/fs-ca-1.pem"
    assert is_certificate(HTTPS_CERTIFICATE)
    assert not is_certificate(SYSTEM_CA)


@pytest.mark.parametrize("name", [HOSTS, HTTPS_CERTIFICATE, SYSTEM_CA])
def test_as_long_as_a_place_is_not_known_nothing_can_refer_to_it(name: str) -> None:
    with pytest.raises(ProxyUnavailableError, match="isn't known yet"):
        Places().of(name)


def test_what_is_given_at_run_time_has_no_directory_but_for_what_was_loaded() -> None:
    assert PLACES.at_run_time("certs/ca-1.pem") == "fs-ca-1.pem"
    assert PLACES.at_run_time(SYSTEM_CA) == "/var/general/fs-system-ca.pem"


@pytest.mark.parametrize("path", ["maps/fs-hosts.map", "/a b/x", "/a'b/x", "/a#b/x", "/a%b/x", "x"])
def test_a_directory_that_no_line_can_hold_is_refused_with_what_to_do(path: str) -> None:
    with pytest.raises(ProxyUnavailableError) as refusal:
        directory_of(path)
    assert "absolute paths" in str(refusal.value.hint)


def test_a_directory_is_what_a_path_lies_in() -> None:
    assert directory_of("/etc/haproxy/maps-1.d/fs-hosts.map") == "/etc/haproxy/maps-1.d"


def test_configurations_have_absolute_names_and_no_process() -> None:
    dialect = DataPlaneDialect(PLACES)
    assert not dialect.process
    assert dialect.maps == "/etc/haproxy/maps/fs-"
    assert all(PLACES.of(name).startswith(dialect.maps) for name in MAPS)
    assert dialect.place(SYSTEM_CA) == PLACES.of(SYSTEM_CA)


@pytest.mark.parametrize("name", [HTTPS_CERTIFICATE, SYSTEM_CA])
def test_what_was_never_stored_keeps_its_name_since_nothing_refers_to_it(name: str) -> None:
    assert DataPlaneDialect(Places(maps="/maps")).place(name) == name


def test_a_map_that_has_no_place_is_an_error() -> None:
    with pytest.raises(ProxyUnavailableError):
        DataPlaneDialect(Places()).place(HOSTS)


def test_slots_are_written_as_the_api_needs_them() -> None:
    route = config(http()).routes[http().key]
    (line,) = DataPlaneDialect(PLACES).servers(HTTP_PROFILE, route)
    assert "on-marked-down shutdown-sessions" in line.arguments
