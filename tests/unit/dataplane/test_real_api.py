"""Against a real Data Plane API, where `DATAPLANEAPI_BIN` names one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from datetime import UTC, datetime

import pytest

from frontserver.backends.dataplane.backend import DATAPLANE_LIMITS
from frontserver.dataplane.client import DataPlaneClient
from frontserver.dataplane.errors import (
    AbsentError,
    BusyError,
    ReloadFailedError,
    RuntimeActionError,
    TroubleError,
    VersionConflictError,
)
from frontserver.errors import ConfigRejectedError, ProxyUnavailableError
from frontserver.pki.authority import CertificateAuthority
from tests.unit.dataplane.conftest import START_SECONDS, Site
from tests.unit.pki.samples import spec

SERVER = {"name": "s1", "address": "127.0.0.1", "port": 21001}


async def load(client: DataPlaneClient, site: Site, *lines: str) -> int:
    """Have HAProxy run our file; the version after it."""
    configuration = client.configuration
    version = await configuration.version()
    return await configuration.replace_raw(site.text(*lines), version=version, reload=True)


async def test_a_whole_file_is_loaded_and_a_marker_shows_it(
    client: DataPlaneClient, site: Site
) -> None:
    before = await client.runtime.info()
    with pytest.raises(AbsentError):
        await client.runtime.servers("marker_7")

    version = await load(client, site, "backend marker_7 from fs_defaults")
    raw = await client.configuration.raw()

    assert await client.runtime.servers("marker_7") == ()
    assert (await client.runtime.info()).pid != before.pid
    assert raw.version == raw.version_on_disk == version == await client.configuration.version()
    assert raw.checksum
    assert "backend marker_7 from fs_defaults" in raw.text


async def test_a_file_for_another_version_is_refused(client: DataPlaneClient, site: Site) -> None:
    with pytest.raises(VersionConflictError):
        await client.configuration.replace_raw(site.text(), version=77, reload=True)


async def test_a_file_that_haproxy_refuses_changes_nothing(
    client: DataPlaneClient, site: Site
) -> None:
    bad = site.text("backend x from fs_defaults", "  bogus")
    version = await load(client, site)

    with pytest.raises(ConfigRejectedError, match="bogus") as caught:
        await client.configuration.replace_raw(bad, version=version, reload=True)
    with pytest.raises(ConfigRejectedError, match="bogus"):
        await client.configuration.validate_raw(bad)
    await client.configuration.validate_raw(site.text())

    assert caught.value.file == str(site.place / "tx" / "cp.cfg")
    assert caught.value.line
    assert await client.configuration.version() == version


async def test_values_that_it_fails_to_read_back_are_those_that_are_reloaded(
    client: DataPlaneClient, site: Site
) -> None:
    """Words alone between commas, by which it takes HAProxy's answer apart."""
    await load(client, site)
    unsayable = DATAPLANE_LIMITS.unsayable
    assert unsayable is not None
    await client.runtime.add_entry("hosts.map", "a", "x")
    for value in ("a, key, b", "a,value,b", "key, a, value", "a, key", "a, keys, b", "a,key=1,b"):
        try:
            await client.runtime.set_entry("hosts.map", "a", value)
        except TroubleError:
            failed = True
        else:
            failed = False
        assert (value, failed) == (value, unsayable.search(value) is not None)


async def test_a_reload_that_fails_shows_as_two_versions(
    client: DataPlaneClient, site: Site
) -> None:
    version = await load(client, site)
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        text = site.text(port=taken.getsockname()[1])
        with pytest.raises(ReloadFailedError, match="bind"):
            await client.configuration.replace_raw(text, version=version, reload=True)
    raw = await client.configuration.raw()

    assert raw.version == version + 1
    assert raw.version_on_disk == version
    assert await load(client, site) == version + 2


async def test_runtime_actions_are_done_or_told(client: DataPlaneClient, site: Site) -> None:
    version = await load(client, site)
    actions = ["SetServerAddr slot_2 s1 127.0.0.1 21001", "SetServerState slot_2 s1 ready"]

    version = await client.configuration.replace_raw(
        site.text(), version=version, reload=False, actions=actions
    )
    (server,) = await client.runtime.servers("slot_2")

    assert (server.port, server.admin_state) == (21001, "ready")
    with pytest.raises(RuntimeActionError, match="No such backend"):
        await client.configuration.replace_raw(
            site.text(), version=version, reload=False, actions=["SetServerState nobody s1 ready"]
        )
    assert await client.configuration.version() == version + 1


async def test_transactions(client: DataPlaneClient, site: Site) -> None:
    version = await load(client, site)
    configuration = client.configuration
    section = {"from": "fs_defaults", "mode": "http"}
    for known in await configuration.transactions():
        await configuration.delete_transaction(known.id)
    transaction = await configuration.begin(version)
    other = await configuration.begin(version)

    await configuration.put_section("backends", "slot_3", section, transaction.id)
    with pytest.raises(AbsentError):
        await configuration.get_section("backends", "slot_3")
    written = await configuration.get_section("backends", "slot_3", transaction.id)
    assert written == {**section, "name": "slot_3"}
    assert {known.version for known in await configuration.transactions()} == {version}

    await configuration.commit(transaction.id)
    assert await client.runtime.servers("slot_3") == ()
    with pytest.raises(AbsentError):
        await configuration.commit(transaction.id)
    with pytest.raises(VersionConflictError):
        await configuration.commit(other.id)
    for known in await configuration.transactions():
        await configuration.delete_transaction(known.id)
    await configuration.delete_transaction(other.id)
    assert await configuration.transactions() == ()


async def test_servers_come_and_go(client: DataPlaneClient, site: Site) -> None:
    await load(client, site)
    runtime = client.runtime

    assert await runtime.add_server("slot_1", SERVER)
    assert not await runtime.add_server("slot_1", SERVER)
    (added,) = await runtime.servers("slot_1")
    assert (added.name, added.address, added.port, added.admin_state) == (
        *SERVER.values(),
        "maint",
    )
    for state in ("ready", "drain", "maint", "ready"):
        assert (await runtime.set_state("slot_1", "s1", state)).admin_state == state
    stats = {(line.backend, line.server): line for line in await runtime.stats()}
    line = stats["slot_1", "s1"]
    assert (line.address, line.port, line.status) == ("127.0.0.1", 21001, "no check")
    assert stats["slot_2", "s1"].status == "MAINT"

    assert await runtime.delete_server("slot_1", "s1")
    assert not await runtime.delete_server("slot_1", "s1")
    with pytest.raises(AbsentError):
        await runtime.add_server("nobody", SERVER)
    with pytest.raises(AbsentError):
        await runtime.set_state("slot_1", "s1", "ready")


@pytest.mark.parametrize("key", ["shop.example", "shop.example/api/", "a%2Fb", "a+b", "a?b", "ü"])
async def test_entries_come_and_go(client: DataPlaneClient, site: Site, key: str) -> None:
    await load(client, site)
    runtime = client.runtime

    assert await runtime.add_entry("hosts.map", key, "slot_1")
    assert not await runtime.add_entry("hosts.map", key, "slot_2")
    assert await runtime.entry("hosts.map", key) == "slot_1"
    assert await runtime.set_entry("hosts.map", key, "slot_2")
    assert await runtime.entries("hosts.map") == [(key, "slot_2")]
    assert await runtime.delete_entry("hosts.map", key)
    assert not await runtime.delete_entry("hosts.map", key)
    assert not await runtime.set_entry("hosts.map", key, "slot_2")
    assert await runtime.entry("hosts.map", key) is None
    with pytest.raises(AbsentError):
        await runtime.entries("nobody.map")


async def test_values_arrive_and_the_api_cuts_what_it_reads(
    client: DataPlaneClient, site: Site
) -> None:
    await load(client, site)
    runtime = client.runtime
    values = ["a b  c ", "a,b", "a=b", "=a", "a\\b", '"a"', "'a'", "#a", "%[x]", "{a}", "ü"]

    for number, value in enumerate(values):
        assert await runtime.add_entry("hosts.map", f"k{number}", value)

    assert await shown(site) == [(f"k{number}", value) for number, value in enumerate(values)]
    assert [value for _, value in await runtime.entries("hosts.map")] == ["a", *values[1:]]
    assert await runtime.entry("hosts.map", "k0") == values[0]
    assert await runtime.entry("hosts.map", "k1") == "a"
    assert await runtime.entry("hosts.map", "k2") == "a"
    assert await runtime.entry("hosts.map", "k3") is None


async def shown(site: Site) -> list[tuple[str, str]]:
    """The map as HAProxy itself shows it."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as cli:
        cli.connect(str(site.place / "rt.sock"))
        cli.sendall(f"show map {site.place}/maps/hosts.map\n".encode())
        lines = b"".join(iter(lambda: cli.recv(65536), b"")).decode().split("\n")
    return [(line.split(" ", 2)[1], line.split(" ", 2)[2]) for line in lines if line]


async def test_keys_that_the_api_misreads_can_be_written_and_looked_up(
    client: DataPlaneClient, site: Site
) -> None:
    await load(client, site)
    runtime = client.runtime

    for key in ("a=b", "a,b"):
        assert await runtime.add_entry("hosts.map", key, "slot_1")
        assert await runtime.set_entry("hosts.map", key, "slot_2")
        assert await runtime.entry("hosts.map", key) == "slot_2"
        assert await runtime.delete_entry("hosts.map", key)
        assert not await runtime.set_entry("hosts.map", key, "slot_2")


async def test_stored_maps(client: DataPlaneClient, site: Site) -> None:
    await load(client, site)
    storage = client.storage
    path = site.place / "maps" / "more.map"

    for text in ("", "a b\n"):
        assert (await storage.create_map("more.map", text)).path == str(path)
        assert path.read_text() == text
    await storage.replace_map("more.map", "")
    assert path.read_text() == "\n"
    assert {stored.name for stored in await storage.maps()} == {"hosts.map", "more.map"}
    assert await storage.delete_map("more.map")
    assert not await storage.delete_map("more.map")
    await storage.replace_map("more.map", "c d\n")
    assert path.read_text() == "c d\n"
    with pytest.raises(BusyError):
        await storage.delete_map("hosts.map")


async def test_other_stored_files(client: DataPlaneClient, site: Site) -> None:
    for content in (b"one\n", b"", b"two\n"):
        stored = await client.storage.put_general("any.txt", content)
        assert (site.place / "general" / "any.txt").read_bytes() == content
    assert stored.path == str(site.place / "general" / "any.txt")
    assert await client.storage.general() == (stored,)
    assert await client.storage.delete_general("any.txt")
    assert not await client.storage.delete_general("any.txt")


async def test_certificates_are_served_without_a_reload(
    client: DataPlaneClient, site: Site
) -> None:
    now = datetime.now(UTC)
    authority = CertificateAuthority.create("Example", key_type="ec", now=now)
    leaf = authority.issue(spec(), now=now)
    pem = f"{leaf.certificate_pem}{leaf.key_pem}".rstrip("\n")
    storage, runtime = client.storage, client.runtime
    crt_list = await storage.put_general("list.txt", b"# empty\n")
    await load(
        client,
        site,
        "frontend fs_tls from fs_defaults",
        f"  bind {site.place}/tls.sock ssl crt-list {crt_list.path} strict-sni",
    )
    worker = (await runtime.info()).pid

    # The second time it is on disk and in memory already, the third time on disk only.
    for _ in range(2):
        stored = await storage.create_certificate("a.pem", pem)
        assert stored.reload is None
        assert await runtime.certificates() == (stored.path,)
    assert await runtime.delete_certificate(stored.path)
    stored = await storage.create_certificate("a.pem", pem)
    assert stored.reload is None
    for _ in range(2):
        await runtime.put_crt_list_entry(crt_list.path, stored.path)
        assert await runtime.crt_list_entries(crt_list.path) == (stored.path,)
    assert await storage.replace_certificate("a.pem", pem) is None
    with pytest.raises(BusyError):
        await runtime.delete_certificate(stored.path)
    assert await runtime.delete_crt_list_entry(crt_list.path, stored.path)
    assert not await runtime.delete_crt_list_entry(crt_list.path, stored.path)
    assert await runtime.delete_certificate(stored.path)
    assert not await runtime.delete_certificate(stored.path)
    assert await storage.delete_certificate("a.pem")
    assert (await runtime.info()).pid == worker


async def test_ca_bundles_of_any_size(client: DataPlaneClient, site: Site) -> None:
    await load(client, site)
    now = datetime.now(UTC)
    pems = [
        CertificateAuthority.create(f"Example {number}", key_type="ec", now=now).certificate_pem
        for number in range(30)
    ]
    runtime = client.runtime

    for bundle in (pems[:1], pems, pems[:2]):
        await runtime.put_ca_file("agents.pem", "".join(bundle))
        assert "agents.pem" in await runtime.ca_files()
        assert await held(client) == len(bundle)
    assert await runtime.delete_ca_file("agents.pem")
    assert not await runtime.delete_ca_file("agents.pem")


async def held(client: DataPlaneClient) -> int:
    """How many certificates HAProxy has in `agents.pem`."""
    answer = await client._connection.send("GET", "/services/haproxy/runtime/ssl_ca_files")
    counts = {line["storage_name"]: line["count"] for line in json.loads(answer.body)}
    return int(counts["agents.pem"].split()[0])


async def test_a_haproxy_that_is_down_is_never_taken_for_absence(
    own_site: Site, own_client: DataPlaneClient
) -> None:
    site, client = own_site, own_client
    version = await load(client, site)
    runtime = client.runtime
    site.stop("haproxy")

    for call in (
        runtime.info(),
        runtime.servers("slot_1"),
        runtime.add_server("slot_1", SERVER),
        runtime.set_state("slot_1", "s1", "ready"),
        runtime.delete_server("slot_1", "s1"),
        runtime.entries("hosts.map"),
        runtime.entry("hosts.map", "a"),
        runtime.add_entry("hosts.map", "a", "b"),
        runtime.set_entry("hosts.map", "a", "b"),
        runtime.delete_entry("hosts.map", "a"),
        runtime.stats(),
        runtime.ca_files(),
        runtime.certificates(),
        client.configuration.replace_raw(site.text(), version=version, reload=True),
    ):
        with pytest.raises(ProxyUnavailableError):
            await call

    site.start_haproxy()
    await up_again(client)
    assert await runtime.servers("slot_1") == ()


async def up_again(client: DataPlaneClient) -> None:
    """Ask until HAProxy answers: a call on its way while it starts takes until its own limit."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            with contextlib.suppress(ProxyUnavailableError):
                await client.runtime.info()
                return
            await asyncio.sleep(0.05)


async def test_a_wrong_password_names_the_settings(site: Site) -> None:
    client = site.client("wrong")

    with pytest.raises(ProxyUnavailableError, match="FRONTSERVER_DATAPLANE_PASSWORD"):
        await client.configuration.version()
    await client.close()


async def test_an_api_that_is_gone_is_unavailable(
    own_site: Site, own_client: DataPlaneClient
) -> None:
    await own_client.configuration.version()
    own_site.stop("dataplane")

    with pytest.raises(ProxyUnavailableError, match=r"didn't answer|can't be reached"):
        await own_client.configuration.version()
