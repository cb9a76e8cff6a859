"""Actions at run time: in order, read back, and undone if one of them fails."""

from __future__ import annotations

import msgspec
import pytest

from frontserver.backends.dataplane.book import Book
from frontserver.backends.dataplane.performer import Performer
from frontserver.backends.dataplane.places import Places, file_name
from frontserver.backends.dataplane.servers import PREPARED
from frontserver.dataplane.errors import DataPlaneError
from frontserver.errors import CommandRefusedError, ProxyUnavailableError
from frontserver.model.routes import RouteKey, RouteKind
from frontserver.planning.actions import (
    Action,
    CutServer,
    DropBackend,
    DropEntry,
    PutBackend,
    PutCaFile,
    PutCertificate,
    PutEntry,
    PutServer,
    RetireServer,
    SetServer,
)
from frontserver.planning.compile import HTTP_PROFILE
from frontserver.planning.compiled import (
    HOSTS,
    HTTPS_CERTIFICATE,
    VALUES,
    CaFile,
    Certificate,
    CompiledRoute,
    Server,
)
from frontserver.planning.limits import HTTP_CHECK
from frontserver.planning.plan import RouteSteps
from tests.unit.backends.dataplane.fake import FakeApi, FakeServer

SLOT, OTHER = "p1.0", "p1.1"
NEW, OLD = Server("10.0.0.1", 80), Server("10.0.0.9", 80)
CHECKED = msgspec.structs.replace(NEW, check=HTTP_CHECK)


def step(*actions: Action, name: str = "shop", gone: bool = False) -> RouteSteps:
    key = RouteKey(RouteKind.HTTP, name)
    new = None if gone else CompiledRoute(key, HTTP_PROFILE, (), ())
    return RouteSteps(key, actions, new, None if gone else SLOT)


class Stage:
    """A performer over backends that are there, empty."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.book = Book()
        self.performer = Performer(self.api.client, self.book)
        self.performer.places = Places("/maps", "/ssl", "/general")
        self.api.process.servers = {SLOT: {}, OTHER: {}}

    async def take(self, *actions: Action) -> str | None:
        """Take one step; returns why it was refused."""
        failed = await self.performer.take([step(*actions)])
        return next(iter(failed.values()), None)

    @property
    def servers(self) -> dict[str, FakeServer]:
        return self.api.process.servers[SLOT]

    def entries(self, name: str = HOSTS) -> dict[str, str]:
        return self.api.process.maps.get(file_name(name), {})

    async def serve(self, server: Server) -> None:
        """Have a server in service, known to the book."""
        await self.performer.perform([PutServer(SLOT, server)])
        self.api.calls.clear()


@pytest.fixture
def stage() -> Stage:
    return Stage()


# --- entries ---


async def test_an_entry_is_put_changed_and_dropped(stage: Stage) -> None:
    assert await stage.take(PutEntry(HOSTS, "a", SLOT)) is None
    assert stage.entries() == {"a": SLOT}
    assert await stage.take(PutEntry(HOSTS, "a", OTHER)) is None
    assert stage.entries() == {"a": OTHER} == stage.book.maps[HOSTS]
    assert await stage.take(DropEntry(HOSTS, "a"), DropEntry(HOSTS, "never")) is None
    assert stage.entries() == {} == stage.book.maps[HOSTS]


@pytest.mark.parametrize("name", [HOSTS, VALUES])
async def test_an_entry_that_exists_unknown_to_us_is_changed_and_not_doubled(
    stage: Stage, name: str
) -> None:
    stage.api.process.maps[file_name(name)] = {"a": OTHER}
    assert await stage.take(PutEntry(name, "a", SLOT)) is None
    assert stage.entries(name) == {"a": SLOT}


@pytest.mark.parametrize("name", [HOSTS, VALUES])
async def test_an_entry_that_is_gone_unknown_to_us_is_added(stage: Stage, name: str) -> None:
    stage.book.maps[name]["a"] = OTHER
    assert await stage.take(PutEntry(name, "a", SLOT)) is None
    assert stage.entries(name) == {"a": SLOT}


async def test_a_value_that_cannot_be_read_back_is_set_before_it_is_added(stage: Stage) -> None:
    """Of such a key the API would add a second entry: it doesn't see the first."""
    await stage.take(PutEntry(VALUES, "a", "one two"))
    calls = [name for name, _ in stage.api.calls]
    assert calls.index("set_entry") < calls.index("add_entry")
    assert stage.entries(VALUES) == {"a": "one two"}


async def test_an_entry_that_reads_back_otherwise_has_failed(stage: Stage) -> None:
    stage.api.process.maps[file_name(HOSTS)] = {"a": OTHER}
    assert "reads back as 'two'" in str(await stage.take(PutEntry(HOSTS, "a", "two words")))
    assert stage.book.maps[HOSTS] == {}


# --- servers ---


async def test_a_server_is_added_and_put_in_service(stage: Stage) -> None:
    assert await stage.take(PutServer(SLOT, NEW)) is None
    assert stage.servers == {NEW.name: FakeServer("10.0.0.1", 80)}
    assert stage.book.waiting == {}


async def test_a_checked_one_waits_for_the_next_write(stage: Stage) -> None:
    assert await stage.take(PutServer(SLOT, CHECKED)) is None
    assert stage.book.waiting == {SLOT: CHECKED}


async def test_putting_a_server_twice_never_takes_it_away(stage: Stage) -> None:
    await stage.serve(NEW)
    stage.servers[NEW.name].sessions = 3

    assert await stage.take(PutServer(SLOT, NEW)) is None

    assert stage.servers == {NEW.name: FakeServer("10.0.0.1", 80, sessions=3)}
    assert stage.api.named("delete_server") == []


async def test_a_server_that_is_leaving_serves_again(stage: Stage) -> None:
    await stage.serve(NEW)
    stage.servers[NEW.name].sessions = 1
    await stage.performer.perform([RetireServer(SLOT, NEW.name)])
    assert stage.servers[NEW.name].state == "drain"

    assert await stage.take(PutServer(SLOT, NEW)) is None

    assert stage.servers[NEW.name].state == "ready"
    assert stage.book.leaving == {}


async def test_its_weight_is_corrected_by_the_next_write(stage: Stage) -> None:
    await stage.serve(NEW)
    stage.servers[NEW.name].weight = 3
    await stage.take(PutServer(SLOT, NEW))
    assert stage.book.weights == {(SLOT, NEW.name): 100}


async def test_a_server_of_our_name_with_another_address_is_replaced(stage: Stage) -> None:
    stage.servers[NEW.name] = FakeServer("10.6.6.6", 80)
    assert await stage.take(PutServer(SLOT, NEW)) is None
    assert stage.servers == {NEW.name: FakeServer("10.0.0.1", 80)}


async def test_or_the_route_fails_as_long_as_streams_hold_it(stage: Stage) -> None:
    stage.servers[NEW.name] = FakeServer("10.6.6.6", 80, sessions=1)
    assert "still has connections" in str(await stage.take(PutServer(SLOT, NEW)))


async def test_the_prepared_one_is_put_in_service_again_where_it_is_that(stage: Stage) -> None:
    stage.servers[PREPARED] = FakeServer("10.0.0.1", 80, "maint")
    stage.book.prepared[SLOT] = CHECKED.name
    assert await stage.take(PutServer(SLOT, CHECKED)) is None
    assert stage.servers == {PREPARED: FakeServer("10.0.0.1", 80)}


async def test_a_retired_server_keeps_its_streams(stage: Stage) -> None:
    await stage.serve(NEW)
    await stage.performer.perform([RetireServer(SLOT, NEW.name), RetireServer(SLOT, "gone")])
    assert stage.servers[NEW.name].state == "drain"
    assert set(stage.book.leaving) == {(SLOT, NEW.name)}


async def test_a_cut_server_is_gone_or_out_of_service_while_streams_last(stage: Stage) -> None:
    await stage.serve(NEW)
    await stage.serve(OLD)
    stage.servers[OLD.name].sessions = 1

    await stage.performer.perform([CutServer(SLOT, name) for name in (NEW.name, OLD.name, "x")])

    assert stage.servers == {OLD.name: FakeServer("10.0.0.9", 80, "maint", sessions=1)}
    assert set(stage.book.leaving) == {(SLOT, OLD.name)}


async def test_the_prepared_server_stays_out_of_service(stage: Stage) -> None:
    stage.servers[PREPARED] = FakeServer("10.0.0.1", 80)
    stage.book.prepared[SLOT] = CHECKED.name
    await stage.performer.perform([CutServer(SLOT, CHECKED.name)])
    assert stage.servers == {PREPARED: FakeServer("10.0.0.1", 80, "maint")}
    assert (stage.book.prepared, stage.book.leaving) == ({}, {})


async def test_draining_is_at_once_and_a_weight_waits_for_the_next_write(stage: Stage) -> None:
    await stage.serve(NEW)
    await stage.take(SetServer(SLOT, msgspec.structs.replace(NEW, weight=0)))
    assert stage.servers[NEW.name].state == "drain"
    assert stage.book.weights == {}
    await stage.take(SetServer(SLOT, msgspec.structs.replace(NEW, weight=7)))
    assert stage.servers[NEW.name].state == "ready"
    assert stage.book.weights == {(SLOT, NEW.name): 7}


async def test_a_weight_follows_a_server_that_waits_for_its_check(stage: Stage) -> None:
    await stage.serve(CHECKED)
    heavier = msgspec.structs.replace(CHECKED, weight=7)
    await stage.take(SetServer(SLOT, heavier))
    assert stage.book.waiting == {SLOT: heavier}


# --- order, and undoing ---


async def test_removals_come_last_whatever_their_place(stage: Stage) -> None:
    await stage.serve(OLD)
    await stage.take(RetireServer(SLOT, OLD.name), PutServer(SLOT, NEW))
    states = [argument for _, argument in stage.api.named("set_state")]
    assert states == [(SLOT, NEW.name, "ready"), (SLOT, OLD.name, "drain")]


async def test_what_goes_is_gone_before_anything_comes(stage: Stage) -> None:
    """A name may change hands within one round."""
    await stage.performer.perform([PutEntry(HOSTS, "a", OTHER)])
    failed = await stage.performer.take(
        [
            step(PutEntry(HOSTS, "a", SLOT), name="new"),
            step(DropEntry(HOSTS, "a"), name="old", gone=True),
        ]
    )
    assert failed == {}
    assert stage.entries() == {"a": SLOT}


async def test_a_refused_step_leaves_everything_as_it_was(stage: Stage) -> None:
    await stage.serve(OLD)
    await stage.performer.perform([PutEntry(HOSTS, "a", OTHER), PutEntry(HOSTS, "b", OTHER)])

    reason = await stage.take(
        PutEntry(HOSTS, "a", SLOT),
        PutEntry(HOSTS, "n", SLOT),
        DropEntry(HOSTS, "b"),
        PutServer(SLOT, NEW),
        SetServer(SLOT, msgspec.structs.replace(OLD, weight=0)),
        PutServer(SLOT, Server("not-an-address", 1)),
        RetireServer(SLOT, OLD.name),
    )

    assert "could not resolve" in str(reason)
    assert stage.entries() == {"a": OTHER, "b": OTHER} == stage.book.maps[HOSTS]
    assert stage.servers == {OLD.name: FakeServer("10.0.0.9", 80)}
    assert (stage.book.waiting, stage.book.weights) == ({}, {})


async def test_a_weight_that_waited_waits_again(stage: Stage) -> None:
    await stage.serve(OLD)
    await stage.performer.perform([SetServer(SLOT, msgspec.structs.replace(OLD, weight=7))])
    await stage.take(
        SetServer(SLOT, msgspec.structs.replace(OLD, weight=0)),
        PutServer(SLOT, Server("not-an-address", 1)),
    )
    assert stage.book.weights == {(SLOT, OLD.name): 7}
    assert stage.servers[OLD.name].state == "ready"


async def test_a_check_that_waited_waits_again(stage: Stage) -> None:
    first = msgspec.structs.replace(OLD, check=HTTP_CHECK)
    await stage.serve(first)
    await stage.take(PutServer(SLOT, CHECKED), PutServer(SLOT, Server("not-an-address", 1)))
    assert stage.book.waiting == {SLOT: first}


async def test_what_cannot_be_undone_does_not_hide_the_reason(stage: Stage) -> None:
    stage.api.fail("delete_entry", DataPlaneError("broken", status=500))
    reason = await stage.take(
        PutEntry(HOSTS, "a", SLOT), PutServer(SLOT, Server("not-an-address", 1))
    )
    assert "could not resolve" in str(reason)


async def test_one_routes_refusal_is_its_own(stage: Stage) -> None:
    bad = step(PutServer(OTHER, Server("not-an-address", 1)), name="bad")
    good = step(PutServer(SLOT, NEW), name="good")
    assert set(await stage.performer.take([bad, good])) == {bad.key}
    assert set(stage.servers) == {NEW.name}


async def test_a_removal_that_is_refused_fails_its_route_alone(stage: Stage) -> None:
    await stage.serve(OLD)
    stage.api.fail("set_state", DataPlaneError("strange", status=500))
    bad = step(RetireServer(SLOT, OLD.name), name="bad")
    assert set(await stage.performer.take([bad, step(name="good")])) == {bad.key}


async def test_haproxy_away_ends_the_round(stage: Stage) -> None:
    stage.api.die()
    with pytest.raises(ProxyUnavailableError):
        await stage.performer.take([step(PutServer(SLOT, NEW)), step(PutEntry(HOSTS, "a", SLOT))])


@pytest.mark.parametrize("action", [PutBackend(SLOT, "p1"), DropBackend(SLOT)])
async def test_the_api_makes_no_backends(stage: Stage, action: Action) -> None:
    assert "makes no backends" in str(await stage.take(action))


async def test_what_belongs_to_no_route_is_refused_by_name(stage: Stage) -> None:
    with pytest.raises(CommandRefusedError, match="PutServer"):
        await stage.performer.perform([PutServer("p9.0", NEW)])


async def test_bundles_and_certificates_are_stored_and_in_use(stage: Stage) -> None:
    certificate = Certificate(HTTPS_CERTIFICATE, "PEM")
    await stage.performer.perform(
        [PutCaFile(CaFile("certs/ca-1.pem", "CA")), PutCertificate(certificate)]
    )
    assert stage.api.files == {"fs-ca-1.pem": "CA", "fs-https.pem": "PEM"}
    assert ("put_ca_file", "fs-ca-1.pem") in stage.api.calls
