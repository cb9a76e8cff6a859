"""Which files are written, in which order, and which not at all."""

from __future__ import annotations

import msgspec
import pytest

from frontserver.backends.dataplane.files import Files
from frontserver.backends.dataplane.places import file_name
from frontserver.dataplane.errors import DataPlaneError, ReloadFailedError
from frontserver.errors import ProxyUnavailableError
from frontserver.planning.compiled import (
    FLAGS,
    HOSTS,
    HTTPS_CERTIFICATE,
    MAPS,
    PATHS,
    ROUTING,
    SNI,
    SYSTEM_CA,
    CaFile,
    Certificate,
    CompiledConfig,
)
from tests.unit.backends.dataplane.fake import FakeApi
from tests.unit.planning.routes import FRONTENDS, config, http

NOTHING: dict[str, dict[str, str]] = {name: {} for name in MAPS}
ROUTED = {**NOTHING, HOSTS: {"a": "p1.0", "b": "p1.1"}, FLAGS: {"p1.0": ",maintenance,"}}


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def files(api: FakeApi) -> Files:
    return Files(api.client)


def written(api: FakeApi) -> list[str]:
    return [name for _, name in api.named("replace_map", "load_map", "create_map")]


async def test_maps_that_are_missing_are_made_and_show_where_maps_are(
    api: FakeApi, files: Files
) -> None:
    api.files[file_name(HOSTS)] = "a p1.0\n"
    await files.prepare()

    assert api.files[file_name(HOSTS)] == "a p1.0\n"
    assert {file_name(name) for name in MAPS} <= api.files.keys()
    assert files.places.maps == "/etc/haproxy/maps"


async def test_values_are_written_before_whatever_leads_to_them(api: FakeApi, files: Files) -> None:
    await files.put_maps(ROUTED)

    order = written(api)
    assert len(order) == len(MAPS)
    assert set(order[-len(ROUTING) :]) == {file_name(name) for name in ROUTING}
    assert api.files[file_name(HOSTS)] == "a p1.0\nb p1.1\n"


async def test_only_maps_that_differ_are_written_and_counted(api: FakeApi, files: Files) -> None:
    await files.put_maps(ROUTED)
    api.calls.clear()

    assert await files.put_maps(ROUTED) == 0
    assert await files.put_maps({**ROUTED, SNI: {"c": "p2.0"}}) == len("c p2.0\n")
    assert written(api) == [file_name(SNI)]


async def test_the_last_map_to_be_written_brings_on_the_reload(api: FakeApi, files: Files) -> None:
    await files.put_maps(ROUTED)
    api.calls.clear()

    await files.load_maps({**ROUTED, FLAGS: {}})

    assert [name for name, _ in api.calls] == ["replace_map", "load_map"]
    assert api.reloads == 1


async def test_after_a_reload_that_failed_the_map_counts_as_unknown(
    api: FakeApi, files: Files
) -> None:
    await files.put_maps(ROUTED)
    api.reload_fails = "cannot bind"
    with pytest.raises(ReloadFailedError):
        await files.load_maps(ROUTED)
    api.calls.clear()

    await files.put_maps(ROUTED)

    assert len(written(api)) == 1


async def test_entries_that_are_no_more_are_dropped_and_none_is_added(
    api: FakeApi, files: Files
) -> None:
    await files.put_maps(ROUTED)

    await files.drop_entries({**ROUTED, HOSTS: {"a": "p1.0", "c": "p1.2"}})

    assert api.files[file_name(HOSTS)] == "a p1.0\n"
    assert api.files[file_name(FLAGS)] == "p1.0 ,maintenance,\n"


async def test_an_entry_that_leads_elsewhere_is_dropped_first(api: FakeApi, files: Files) -> None:
    await files.put_maps(ROUTED)
    await files.drop_entries({**ROUTED, HOSTS: {"a": "p1.7", "b": "p1.1"}})
    assert api.files[file_name(HOSTS)] == "b p1.1\n"


async def test_entries_must_be_in_all_that_is_named(api: FakeApi, files: Files) -> None:
    await files.put_maps(ROUTED)
    await files.drop_entries({**ROUTED, HOSTS: {"a": "p1.0"}}, ROUTED, {**ROUTED, HOSTS: {}})
    assert api.files[file_name(HOSTS)] == ""


async def test_what_is_stored_counts_and_not_what_is_wanted_if_it_is_not_known(
    api: FakeApi, files: Files
) -> None:
    """Another control plane wrote it: new entries must not come before the configuration."""
    api.files[file_name(HOSTS)] = "a p1.0\nb p1.9\n"

    await files.drop_entries(ROUTED)

    assert api.files[file_name(HOSTS)] == "a p1.0\n"
    assert api.files.get(file_name(PATHS), "") == ""


async def test_a_write_that_failed_is_not_taken_as_done(api: FakeApi, files: Files) -> None:
    await files.put_maps(NOTHING)
    api.fail("replace_map", DataPlaneError("no space left on device", status=500))
    with pytest.raises(DataPlaneError):
        await files.put_maps(ROUTED)

    await files.put_maps(ROUTED)

    assert api.files[file_name(FLAGS)] == "p1.0 ,maintenance,\n"


async def test_an_api_that_may_have_other_files_gets_all_of_them(
    api: FakeApi, files: Files
) -> None:
    await files.put_maps(ROUTED)
    api.files.clear()
    files.forget()

    await files.put_maps(ROUTED)

    assert api.files[file_name(HOSTS)] == "a p1.0\nb p1.1\n"


async def test_certificates_and_bundles_are_stored_once_and_show_where_they_are(
    api: FakeApi, files: Files
) -> None:
    bundle = CaFile("certs/ca-1.pem", "PEM of a CA")
    (route,) = config(http()).routes.values()
    frontends = msgspec.structs.replace(FRONTENDS, system_ca="PEM of the system")
    wanted = CompiledConfig(
        frontends, certificates=(Certificate(HTTPS_CERTIFICATE, "PEM and key"),)
    ).with_routes({route.key: msgspec.structs.replace(route, ca_files=(bundle,))})

    for _ in range(2):
        await files.put_certificates(wanted)

    assert api.files == {
        "fs-https.pem": "PEM and key",
        "fs-system-ca.pem": "PEM of the system",
        "fs-ca-1.pem": "PEM of a CA",
    }
    assert len(api.calls) == 3
    assert files.places.certificates == "/etc/haproxy/ssl"
    assert files.places.of(SYSTEM_CA) == "/etc/haproxy/general/fs-system-ca.pem"


async def test_an_api_that_is_away_is_told(api: FakeApi, files: Files) -> None:
    api.fail("map_text", ProxyUnavailableError("no answer"))
    with pytest.raises(ProxyUnavailableError):
        await files.drop_entries(ROUTED)
