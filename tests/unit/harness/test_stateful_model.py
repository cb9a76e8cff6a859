"""The model of the stateful tests: a law or two, and what each kind of route looks like."""

from __future__ import annotations

import pytest

from tests.stateful.model import (
    Model,
    Outcome,
    Place,
    Publish,
    PublishMongo,
    Remove,
    RemoveMongo,
    Sight,
    Wish,
)

PLAIN = Wish(targets=("a",))
ROOT, API, DEEP = Place("shop"), Place("shop", "/api"), Place("shop", "/api/v2")


def published(wish: Wish) -> Model:
    """A model with one route: `shop`."""
    model = Model()
    model.apply(Publish("ann", ROOT, wish))
    return model


def test_nothing_is_there_until_it_is_published() -> None:
    model = Model()
    assert model.seen("shop", "/") == Sight(404)
    assert model.apply(Publish("ann", ROOT, PLAIN)) is Outcome.CREATED
    assert model.seen("shop", "/x") == Sight(200, frozenset({"a"}))
    assert model.seen("shopping", "/x") == Sight(404)
    assert model.listed("ann") == {ROOT: PLAIN}
    assert model.listed("bob") == {}


def test_a_request_may_be_repeated_or_changed() -> None:
    model = published(PLAIN)
    assert model.apply(Publish("ann", ROOT, PLAIN)) is Outcome.UNCHANGED
    assert model.apply(Publish("ann", ROOT, Wish(targets=("b",)))) is Outcome.UPDATED
    assert model.seen("shop", "/").origins == {"b"}
    assert model.may_have_seen("shop") == {"a", "b"}


def test_what_is_removed_is_gone_and_its_name_free() -> None:
    model = published(PLAIN)
    assert model.apply(Remove("bob", ROOT)) is Outcome.UNKNOWN
    assert model.apply(Remove("ann", ROOT)) is Outcome.REMOVED
    assert model.apply(Remove("ann", ROOT)) is Outcome.UNKNOWN
    assert model.seen("shop", "/") == Sight(404)
    assert model.apply(Publish("bob", ROOT, PLAIN)) is Outcome.CREATED


def test_a_name_is_one_agents_with_all_its_paths() -> None:
    model = published(PLAIN)
    assert model.apply(Publish("bob", API, PLAIN)) is Outcome.TAKEN
    assert model.seen("shop", "/api") == Sight(200, frozenset({"a"}))
    model.forget("ann")
    assert model.apply(Publish("bob", API, PLAIN)) is Outcome.CREATED
    assert model.seen("shop", "/") == Sight(404)


@pytest.mark.parametrize(
    ("path", "origin"),
    [("/", "a"), ("/apix", "a"), ("/api", "b"), ("/api/v2x", "b"), ("/api/v2/x", "c")],
)
def test_the_longest_path_wins_by_whole_segments(path: str, origin: str) -> None:
    model = published(PLAIN)
    model.apply(Publish("ann", DEEP, Wish(targets=("c",))))
    model.apply(Publish("ann", API, Wish(targets=("b",))))
    assert model.seen("shop", path).origins == {origin}


@pytest.mark.parametrize(
    ("wish", "http", "https"),
    [
        (Wish(targets=("a",), tls=False), 200, 404),
        (Wish(targets=("a",), redirect=True), 301, 200),
        (Wish(targets=("a",), maintenance=True), 503, 503),
        (Wish(targets=("a",), maintenance=True, redirect=True), 503, 503),
        (Wish(targets=("a",), maintenance=True, tls=False), 503, 404),
    ],
)
def test_what_answers_by_scheme(wish: Wish, http: int, https: int) -> None:
    model = published(wish)
    assert model.seen("shop", "/", "http").status == http
    assert model.seen("shop", "/", "https").status == https


def test_a_drained_target_is_not_met() -> None:
    model = published(Wish(targets=("a", "b"), drained=("a",), header=("x-soak", "1")))
    sight = model.seen("shop", "/")
    assert sight.fits(200, "b", [("x-soak", "1")])
    assert not sight.fits(200, "a", [("x-soak", "1")])
    assert not sight.fits(200, "b", [])
    assert not sight.fits(404, None, [])


def test_a_batch_is_stored_whole_or_not_at_all() -> None:
    model = published(PLAIN)
    fine, taken = Publish("bob", Place("blog"), PLAIN), Publish("bob", API, PLAIN)
    assert model.apply_all([fine, taken]) == [Outcome.TAKEN]
    assert model.apply_all([fine, fine]) == [Outcome.TWICE]
    assert model.seen("blog", "/") == Sight(404)
    mine = Publish("ann", ROOT, Wish(targets=("b",)))
    assert model.apply_all([fine, mine]) == [Outcome.CREATED, Outcome.UPDATED]
    assert (model.owner("blog"), model.owner("shop")) == ("bob", "ann")


def test_what_it_would_be_is_another_model() -> None:
    model = published(PLAIN)
    assert model.after(Remove("ann", ROOT)).seen("shop", "/") == Sight(404)
    assert model.seen("shop", "/").status == 200


def test_an_agent_has_one_mongodb_route() -> None:
    model = published(PLAIN)
    first, second = PublishMongo("ann", "m"), PublishMongo("ann", "m", check=True)
    outcomes = [model.apply(change) for change in (first, first, second)]
    assert outcomes == [Outcome.CREATED, Outcome.UNCHANGED, Outcome.UPDATED]
    assert (model.mongo("ann"), model.mongo("bob")) == (second, None)
    outcomes = [model.apply(RemoveMongo("ann")) for _ in range(2)]
    assert outcomes == [Outcome.REMOVED, Outcome.UNKNOWN]
    model.apply(PublishMongo("bob", "m"))
    assert model.agents == ["ann", "bob"]
    model.forget("bob")
    assert model.mongo("bob") is None


def test_options_are_only_those_that_are_not_usual() -> None:
    urls = {"a": "http://a", "b": "http://b"}
    assert PLAIN.options(urls) == {}
    wish = Wish(targets=("a", "b"), drained=("b",), check="/healthz", header=("x", "1"), tls=False)
    assert wish.options(urls) == {
        "useTls": False,
        "check": {"path": "/healthz"},
        "headers": {"request": {"set": {"x": "1"}}},
        "targets": [{"url": "http://a"}, {"url": "http://b", "drain": True}],
    }
