"""Wires that fail: to origins, from visitors, from agents, and to the Data Plane API.

One row a test, as in `test_file_faults.py`: only who speaks over the wire notices, and all is well
within ten seconds after it was mended. Each row waits until its fault has struck.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

from harness.agent import AgentApi
from harness.frontserver import APP_DOMAIN
from harness.interference import Interference, Trouble
from harness.patient import Patient
from harness.polling import until
from harness.stack import Stack
from harness.visitors import Visit, Visitors
from harness.wires import Dead, Late, Lingering, Lossy, Torn, Wire
from harness.wires import Trouble as Fault
from tests.e2e.faults import healed, told

EVERY = [Late(0.3), Lossy(0.3), Dead(), Torn(), Lingering(1)]
SILENT = [Dead(), Torn()]


def named(fault: Fault) -> str:
    return type(fault).__name__.lower()


@pytest.fixture
def patient(chosen_patient: Patient) -> Patient:
    """These break a stack on whatever backend is chosen."""
    return chosen_patient


# --- HAProxy to an origin ---


@pytest.mark.long
@pytest.mark.parametrize("fault", EVERY, ids=named)
def test_between_haproxy_and_an_origin(patient: Patient, fault: Fault) -> None:
    """Whoever visits that origin waits or gets an error; a route beside it is published at once."""
    name = f"wire-{named(fault)}"
    origin = patient.origin("a")
    # Connections that are kept have no end that could linger.
    path = "/until-close" if isinstance(fault, Lingering) else "/"
    expected = {502, 503, 504} if fault in SILENT else {200}
    with Wire(origin.port) as wire:
        answer = patient.agent.api.http(name, wire.url, timeouts={"server": 2})
        assert answer.json()["status"] == "active"
        patient.promises[name] = origin.name
        assert patient.broken([name]) == []

        def visit() -> None:
            assert patient.stack.get(name, path).status_code in expected

        wire.have(fault)
        wire.until_it_strikes(visit)
        assert patient.publish(f"{name}-beside", patient.origin("b"))["status"] == "active"
        patient.visitors.wait_for(20)
        wire.mend()
        healed(patient, f"the wire to an origin {fault}")
        patient.publish(name, patient.origin("b"))


# --- visitors to HAProxy ---


@pytest.mark.long
@pytest.mark.parametrize("fault", [Late(0.3), Lossy(0.3), Torn()], ids=named)
def test_between_visitors_and_haproxy(patient: Patient, fault: Fault) -> None:
    """Visitors beyond the wire wait or are cut off, until it is mended."""
    name = f"visit-{named(fault)}"
    origin = patient.origin("a")
    patient.publish(name, origin)
    visits = [Visit(f"{name}.{APP_DOMAIN}", origin.name)] * 5
    with Wire(patient.stack.front.http_port) as wire, Visitors(wire.port, visits) as beyond:
        beyond.wait_for(10)
        assert beyond.complaints == []
        wire.have(fault)
        if fault in SILENT:
            until("they are cut off", lambda: beyond.complaints)
        else:
            beyond.wait_for(10)
            assert beyond.complaints == []
        wire.until_it_strikes()
        patient.visitors.wait_for(20)
        assert patient.publish(f"{name}-beside", patient.origin("b"))["status"] == "active"
        wire.mend()
        served = beyond.done + 10
        until("they are served again", lambda: beyond.done >= served)
    healed(patient, f"the wire from visitors {fault}")


def hundred(opened: contextlib.ExitStack) -> Iterator[httpx.Client]:
    """As many visitors, who leave when `opened` is closed."""
    for _ in range(100):
        client = httpx.Client(trust_env=False, timeout=10, verify=False)  # noqa: S501 - plain HTTP
        yield opened.enter_context(client)


@pytest.mark.long
def test_visitors_that_vanish(patient: Patient) -> None:
    """A hundred begin a long download, and are gone."""
    origin = patient.origin("a")
    patient.publish("vanish", origin)
    host = {"Host": f"vanish.{APP_DOMAIN}"}
    with Wire(patient.stack.front.http_port) as wire, contextlib.ExitStack() as visits:
        for client in hundred(visits):
            stream = client.stream("GET", f"{wire.url}/download", headers=host)
            assert visits.enter_context(stream).status_code == 200
        wire.have(Dead())
        visits.close()
        until("nothing arrives any more", lambda: wire.struck >= 100)
        patient.visitors.wait_for(20)
        assert patient.publish("vanish-beside", patient.origin("b"))["status"] == "active"
        wire.mend()
    healed(patient, "100 visitors vanish in the middle of a download")
    origin.finish()


@pytest.mark.long
def test_visitors_whose_end_lingers(patient: Patient) -> None:
    """A hundred have what they came for, and leave; HAProxy learns it later."""
    patient.publish("leave", patient.origin("a"))
    host = {"Host": f"leave.{APP_DOMAIN}"}
    with Wire(patient.stack.front.http_port) as wire, contextlib.ExitStack() as visits:
        for client in hundred(visits):
            assert client.get(wire.url, headers=host).status_code == 200
        wire.have(Lingering(2))
        visits.close()
        until("their ends linger", lambda: wire.struck >= 100)
        patient.visitors.wait_for(20)
        assert patient.publish("leave-beside", patient.origin("b"))["status"] == "active"
        wire.mend()
    healed(patient, "100 visitors leave, whose end lingers")


# --- agents to the API ---


@pytest.fixture
def by_wire(patient: Patient) -> Iterator[Callable[..., AgentApi]]:
    """Makes the agent speak to this port instead, until the end of the test."""
    plain = patient.agent.api

    def speak(port: int, *, keep: bool = True) -> AgentApi:
        api = AgentApi(plain.agent_id, patient.agent.key, url=f"http://127.0.0.1:{port}")
        api.client.timeout = httpx.Timeout(2)
        if not keep:
            api.client.headers["Connection"] = "close"
        patient.agent.api = api
        return api

    yield speak
    if patient.agent.api is not plain:
        patient.agent.api.close()
    patient.agent.api = plain


@pytest.mark.long
@pytest.mark.parametrize("fault", EVERY, ids=named)
def test_between_an_agent_and_the_api(
    patient: Patient, by_wire: Callable[..., AgentApi], fault: Fault
) -> None:
    """An answer is a promise, however late; without one the agent asks what became of it."""
    name = f"agent-{named(fault)}"
    with Wire(patient.stack.front.api_port) as wire:
        # Connections that are kept have no end that could linger.
        by_wire(wire.port, keep=not isinstance(fault, Lingering))
        patient.publish(name, patient.origin("a"))

        def ask() -> None:
            answered = patient.attempt(name, patient.origin("b"), wait=1)
            assert answered == (fault not in SILENT)

        wire.have(fault)
        wire.until_it_strikes(ask)
        # Others aren't kept waiting.
        other = AgentApi(patient.agent.agent_id, patient.agent.key, url=patient.stack.front.api_url)
        with contextlib.closing(other):
            assert other.http(f"{name}-beside", patient.origin("a").url).status_code == 201
        wire.mend()
        healed(patient, f"the wire from an agent {fault}")


def test_an_answer_to_an_agent_is_lost(patient: Patient, by_wire: Callable[..., AgentApi]) -> None:
    """The route is there all the same, and to ask again is harmless."""
    with Interference(patient.stack.front.api_port) as between:
        by_wire(between.port)
        between.make(Trouble("POST /api/proxy/http", drop="after", times=1))
        assert not patient.attempt("lost-answer", patient.origin("a"))
        assert between.struck == 1
        healed(patient, "an answer to an agent lost")
        assert patient.promises["lost-answer"] == patient.origin("a").name
        again = patient.agent.api.http("lost-answer", patient.origin("a").url)
        assert (again.status_code, again.json()["status"]) == (200, "active")


# --- the front server to the Data Plane API ---


@pytest.fixture(scope="module")
def wired() -> Iterator[tuple[Patient, Wire]]:
    """A stack whose front server speaks to its Data Plane API over a wire."""
    with Wire(0) as wire:
        stack = Stack(backend="dataplane", environ={"FRONTSERVER_DATAPLANE_URL": wire.url})
        assert stack.dataplane is not None
        wire.target = stack.dataplane.port
        with stack:
            yield Patient(stack), wire


@pytest.mark.dataplane_backend
@pytest.mark.parametrize("fault", EVERY, ids=named)
def test_between_the_front_server_and_the_dataplane(
    wired: tuple[Patient, Wire], fault: Fault
) -> None:
    """A route waits as long as the wire does, and visitors notice nothing."""
    patient, wire = wired
    patient.healed(30)
    name = f"plane-{named(fault)}"
    with patient:
        wire.have(fault)
        if isinstance(fault, Lingering):
            # Connections are kept, and end with the process at their other end.
            patient.dataplane.restart(wait=False)
        if fault in SILENT:
            told(patient, name, "the Data Plane API at")
        else:
            assert patient.publish(name, patient.origin("a"))["status"] == "active"
        wire.until_it_strikes()
        wire.mend()
        healed(patient, f"the wire to the Data Plane API {fault}")


@pytest.mark.dataplane_backend
def test_a_route_is_under_way_when_the_wire_to_the_dataplane_dies(
    wired: tuple[Patient, Wire],
) -> None:
    """Half of its calls were made, and nobody knows of the last one whether it was."""
    patient, wire = wired
    patient.healed(30)
    with patient:
        wire.have(Late(0.15))
        dies = threading.Timer(0.4, lambda: wire.have(Dead()))
        dies.start()
        patient.publish("under-way", patient.origin("b"), wait=0)
        dies.join()
        until("it waits", lambda: patient.route("under-way")["status"] == "pending")
        wire.until_it_strikes()
        wire.mend()
        healed(patient, "the wire to the Data Plane API dies under a route")
