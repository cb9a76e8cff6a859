"""What is known of the running worker."""

from __future__ import annotations

import asyncio

from frontserver.backends.dataplane.book import Book
from frontserver.backends.dataplane.servers import PREPARED
from frontserver.backends.port import State
from frontserver.model.routes import HealthCheck
from frontserver.planning.actions import CutServer, DropEntry, PutEntry
from frontserver.planning.compiled import HOSTS, MAPS, Server
from frontserver.planning.layout import Layout
from tests.unit.planning.routes import POLICY, config, http

CHECKED, PLAIN = http("checked", check=HealthCheck()), http("plain")


def state() -> tuple[State, str, Server]:
    """A checked and a plain route; the slot and the server of the checked one."""
    wanted = config(CHECKED, PLAIN)
    layout = Layout().reloaded({}, POLICY)
    for key, route in wanted.routes.items():
        layout = layout.place(key, route.profile)
    (server,) = wanted.routes[CHECKED.key].servers
    return State(wanted, layout), layout.slots[CHECKED.key], server


def test_what_a_worker_has_loaded_is_known() -> None:
    loaded, slot, server = state()
    book = Book()
    book.waiting[slot] = server
    book.left(slot, "t1")
    book.weigh(slot, "t1", 7)

    book.loaded(loaded)

    assert book.maps[HOSTS]["checked.apps.example.com"] == slot
    assert book.prepared == {slot: server.name}
    assert (book.waiting, book.leaving, book.weights) == ({}, {}, {})


def test_checked_routes_wait_whose_checked_server_is_another() -> None:
    loaded, slot, server = state()
    book = Book()

    book.found({}, {}, doubled=(), worker=True)
    book.expect(loaded)
    assert book.waiting == {slot: server}

    book.found({}, {slot: server.name}, doubled=(), worker=True)
    book.expect(loaded)
    assert book.waiting == {}

    book.found({}, {slot: "t0"}, doubled=(), worker=True)
    book.expect(loaded)
    assert book.waiting == {slot: server}


def test_a_checked_server_beside_the_one_it_stands_for_takes_over_once_more() -> None:
    loaded, slot, server = state()
    book = Book()

    book.found({}, {slot: server.name}, doubled=[slot], worker=True)
    book.expect(loaded)

    assert book.waiting == {slot: server}
    assert book.names(slot, server.name) == (PREPARED, server.name)


def test_another_worker_knows_nothing_of_who_left() -> None:
    book = Book()
    book.left("p1.0", "t1")
    book.weigh("p1.0", "t2", 7)

    book.found({}, {}, doubled=(), worker=True)
    assert book.leaving
    book.found({}, {}, doubled=(), worker=False)

    assert (book.leaving, book.weights) == ({}, {})


def test_entries_follow_actions_and_observations() -> None:
    book = Book()
    book.found({HOSTS: {"a": "p1.0"}}, {}, doubled=(), worker=True)
    book.act([PutEntry(HOSTS, "b", "p1.1"), DropEntry(HOSTS, "a"), DropEntry(HOSTS, "x")])
    book.act([CutServer("p1.0", "t1")])

    assert book.maps[HOSTS] == {"b": "p1.1"}
    assert set(book.maps) == set(MAPS)


def test_a_server_is_the_prepared_one_its_own_or_both() -> None:
    book = Book()
    assert book.names("p1.0", "t1") == ("t1",)
    book.prepared["p1.0"] = "t1"
    assert book.names("p1.0", "t1") == (PREPARED,)
    assert book.names("p1.0", "t2") == ("t2",)
    book.waiting["p1.0"] = Server("10.0.0.1", 80)
    assert book.names("p1.0", "t1") == (PREPARED, "t1")


def test_who_leaves_needs_no_weight_any_more() -> None:
    book = Book()
    book.weigh("p1.0", "t1", 7)
    book.left("p1.0", "t1")
    assert book.weights == {}
    book.serves("p1.0", "t1")
    assert book.leaving == {}


async def test_turns_at_one_backend_come_one_after_the_other() -> None:
    book, order = Book(), []

    async def take(name: str, *backends: str) -> None:
        async with book.turn(backends):
            order.append(f"{name} begins")
            for _ in range(5):
                await asyncio.sleep(0)
            order.append(f"{name} ends")

    await asyncio.gather(take("a", "p1.0", "p1.1"), take("b", "p1.1", "p1.0"), take("c", "p1.2"))

    own = [entry for entry in order if entry[0] in "ab"]
    assert own == ["a begins", "a ends", "b begins", "b ends"]
    assert order.index("c begins") < order.index("a ends")
