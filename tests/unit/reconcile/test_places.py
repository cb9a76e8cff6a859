"""Places that owners take in turns."""

from __future__ import annotations

from frontserver.reconcile.places import Places


def taken(places: Places) -> list[str]:
    """All names that have a place now, in order."""
    names = []
    while (found := places.take()) is not None:
        names.append(found[0])
    return names


def test_owners_take_turns_however_many_names_of_one_wait() -> None:
    places = Places(6, 6)
    for name in ("a1", "a2", "a3", "a4", "a5"):
        places.wait(name, ["a"])
    places.wait("b1", ["b"])
    places.wait("c1", ["c"])

    assert taken(places) == ["a1", "b1", "c1", "a2", "a3", "a4"]
    places.leave("b")
    assert taken(places) == ["a5"]


def test_no_owner_has_more_than_its_share() -> None:
    places = Places(5, 2)
    for name in ("a1", "a2", "a3"):
        places.wait(name, ["a"])

    assert taken(places) == ["a1", "a2"]
    places.wait("b1", ["b"])
    assert taken(places) == ["b1"]
    places.leave("a")
    assert taken(places) == ["a3"]


def test_a_name_of_several_goes_in_once_with_whoever_is_next() -> None:
    """So nobody holds up a name by pointing to it and to many others."""
    places = Places(4, 4)
    places.wait("a1", ["a"])
    places.wait("a2", ["a"])
    places.wait("shared", ["a", "b"])

    assert places.take() == ("a1", "a")
    assert places.take() == ("shared", "b")
    assert taken(places) == ["a2"]


def test_a_name_that_waits_gets_the_turn_of_a_later_owner_too() -> None:
    places = Places(4, 4)
    for name in ("a1", "a2", "shared"):
        places.wait(name, ["a"])
    places.wait("shared", ["b"])

    assert taken(places) == ["a1", "shared", "a2"]
    assert places.take() is None


def test_a_name_waits_once_and_in_its_place() -> None:
    places = Places(4, 4)
    for name in ("a1", "a2", "a1"):
        places.wait(name, ["a"])

    assert taken(places) == ["a1", "a2"]


def test_names_that_nobody_wants_any_more_do_not_wait() -> None:
    places = Places(4, 4)
    places.wait("gone", ["a", "b"])
    places.wait("kept", ["a"])
    places.keep({"kept", "another"})

    assert taken(places) == ["kept"]
