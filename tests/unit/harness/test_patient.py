"""A patient that isn't well is told, with what is wrong: else rows about healing prove nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from harness.errors import HarnessError
from harness.frontserver import APP_DOMAIN
from harness.patient import Patient
from harness.stack import Stack

# What a patient that is ill is waited for.
SECONDS = 0.1


class FakeStack:
    """A front server and its HAProxy, of which a test says what they answer.

    `reasons` are those for not being ready, `served` the origin a name's visitors meet, `stored`
    the origin that a route has. Of agents, `lost` may be the `request` or its `answer`.
    """

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.served: dict[str, str] = {}
        self.stored: dict[str, str] = {}
        self.lost = ""
        self.front = SimpleNamespace(http_port=1, api_url="http://front", tail=lambda: "its log")
        self.client = httpx.Client(transport=httpx.MockTransport(self._ready))

    def registered(self, agent_id: str) -> Any:
        return SimpleNamespace(agent_id=agent_id, api=self)

    def origin(self, name: str) -> Any:
        return SimpleNamespace(name=name, url=f"http://{name}")

    def get(self, name: str) -> httpx.Response:
        """A visit."""
        if name not in self.served:
            return httpx.Response(404)
        if self.served[name] == "none":
            return httpx.Response(503)
        return httpx.Response(200, json={"origin": self.served[name]})

    # --- the API ---

    def http(self, name: str, target: str, **_: Any) -> httpx.Response:
        if self.lost != "request":
            self.stored[name] = target
            self.served[name] = httpx.URL(target).host
        return self._answer(201)

    def remove(self, name: str, **_: Any) -> httpx.Response:
        self.stored.pop(name, None)
        self.served.pop(name, None)
        return self._answer(200)

    def routes(self) -> dict[str, Any]:
        return {f"{n}.{APP_DOMAIN}": {"targetUrl": target} for n, target in self.stored.items()}

    def _answer(self, status: int) -> httpx.Response:
        if self.lost:
            raise httpx.ReadError("lost")
        return httpx.Response(status, json={}, request=httpx.Request("POST", "http://front/"))

    def _ready(self, _: httpx.Request) -> httpx.Response:
        return httpx.Response(503 if self.reasons else 200, json={"reasons": self.reasons})


@pytest.fixture
def fake() -> FakeStack:
    return FakeStack()


@pytest.fixture
def patient(fake: FakeStack) -> Patient:
    """A patient with one route of its own, which leads to its origin `a`."""
    patient = Patient(cast("Stack", fake), agent_id="p")
    patient.publish("shop", patient.origin("a"))
    return patient


def test_one_that_is_well_is_healed(patient: Patient) -> None:
    assert patient.healed(SECONDS) < SECONDS
    assert patient.broken() == []


def test_it_is_not_ready(patient: Patient, fake: FakeStack) -> None:
    fake.reasons = ["HAProxy can't be reached"]
    with pytest.raises(HarnessError, match=r"HAProxy can't be reached\)\nits log"):
        patient.healed(SECONDS)


@pytest.mark.parametrize(
    ("seen", "said"), [("p-b", "leads to p-b, not to p-a"), ("none", "leads to 503, not to p-a")]
)
@pytest.mark.parametrize("name", ["shop", "p-untouched-2"])
def test_a_route_leads_elsewhere(
    patient: Patient, fake: FakeStack, name: str, seen: str, said: str
) -> None:
    fake.served[name] = seen
    with pytest.raises(HarnessError, match=f"{name} {said}"):
        patient.healed(SECONDS)


def test_a_route_is_gone(patient: Patient, fake: FakeStack) -> None:
    del fake.served["shop"]
    with pytest.raises(HarnessError, match="shop leads to 404, not to p-a"):
        patient.healed(SECONDS)


@pytest.mark.parametrize("seen", ["p-a", "none"])
def test_a_route_that_was_removed_is_still_there(
    patient: Patient, fake: FakeStack, seen: str
) -> None:
    patient.remove("shop")
    patient.healed(SECONDS)
    fake.served["shop"] = seen
    with pytest.raises(HarnessError, match=r"shop leads to .*, not to None"):
        patient.healed(SECONDS)


def test_visitors_are_not_answered(
    patient: Patient, fake: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> httpx.Response:
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(fake, "get", refuse)
    with pytest.raises(HarnessError, match="shop isn't answered: ConnectError"):
        patient.healed(SECONDS)


def test_a_promise_is_lost(patient: Patient, fake: FakeStack) -> None:
    """An answer was a promise: that neither the route nor its visitors are there is no excuse."""
    fake.stored.clear()
    fake.served.clear()
    with pytest.raises(HarnessError, match="shop leads to 404"):
        patient.healed(SECONDS)


@pytest.mark.parametrize(("lost", "origin"), [("request", "p-a"), ("answer", "p-b")])
def test_a_request_that_nobody_answered_was_done_or_not(
    patient: Patient, fake: FakeStack, lost: str, origin: str
) -> None:
    fake.lost = lost
    assert not patient.attempt("shop", patient.origin("b"))
    patient.healed(SECONDS)
    assert patient.promises["shop"] == origin


def test_a_request_that_nobody_answered_does_something_else(
    patient: Patient, fake: FakeStack
) -> None:
    fake.lost = "answer"
    assert not patient.attempt("shop", patient.origin("b"))
    del fake.stored["shop"]
    with pytest.raises(HarnessError, match="shop leads to None; asked for was one of"):
        patient.healed(SECONDS)


def test_a_refusal_is_no_fault(
    patient: Patient, fake: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked for in a row is valid: a refusal (4xx) is an error whatever else fails."""
    monkeypatch.setattr(fake, "_answer", lambda _: httpx.Response(
        409, text="taken", request=httpx.Request("POST", "http://front/")))  # fmt: skip
    with pytest.raises(HarnessError, match="shop: taken"):
        patient.attempt("shop", patient.origin("b"))


def test_it_is_waited_for_what_it_says(patient: Patient, fake: FakeStack) -> None:
    fake.reasons = ["the disk is full", "and more"]
    assert patient.until_it_says("disk is full") == "the disk is full; and more"
    assert patient.said == "the disk is full; and more"
