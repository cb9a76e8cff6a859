"""Rows of the fault table: a Data Plane API that is slow, drops connections, or refuses."""

from __future__ import annotations

import msgspec
import pytest

from harness.interference import Interference, Trouble
from harness.patient import Patient
from harness.polling import until
from tests.e2e.faults import LONG, POOLS, RELOAD, WRITE, healed, healing, told

pytestmark = pytest.mark.dataplane_backend

SERVER = "POST .*/runtime/backends/.*/servers"
STATE = "PUT .*/runtime/backends/.*/servers"
ENTRY = "POST .*/runtime/maps/.*/entries"
MAP = "PUT .*/storage/maps.*skip_reload"


def unseen(name: str) -> dict[str, object]:
    """Options that need a reload: a header name that no route has had before."""
    return {"headers": {"request": {"set": {f"X-{name}": "1"}}}}


def test_slow_answers_only_make_routes_slow(patient: Patient, between: Interference) -> None:
    between.make(Trouble("", delay=0.15))
    answer = patient.publish("slow", patient.origin("a"))
    assert answer["status"] == "active"
    answer = patient.publish("slow-reload", patient.origin("b"), **unseen("Slow"))
    assert answer["status"] == "active"
    assert patient.reasons() == ""
    with healing(patient, "0.15 s more for each answer"):
        between.clear()


def test_answers_that_come_too_late(patient: Patient, between: Interference) -> None:
    """Runtime calls are waited for 5 s; what was asked for is done a second after that."""
    between.make(Trouble(SERVER, delay=6, times=1))
    told(patient, "too-late", "didn't answer POST /services/haproxy/runtime/backends")
    healed(patient, "an answer after 6 s")


DROPS = [
    (request, when)
    for request in (SERVER, STATE, ENTRY, MAP, POOLS, WRITE, RELOAD)
    for when in ("before", "after")
]


@pytest.mark.parametrize(
    ("request_", "when"),
    DROPS if LONG else [(request, "after") for request in (ENTRY, POOLS, WRITE, RELOAD)],
)
def test_one_dropped_connection(
    patient: Patient, between: Interference, request_: str, when: str
) -> None:
    """Before or after the API has done what it was asked: nobody can tell, and all is looked at."""
    name = f"drop-{DROPS.index((request_, when))}"
    between.make(Trouble(request_, drop="before" if when == "before" else "after", times=1))
    options = unseen(name) if request_ == RELOAD else {"check": request_ == WRITE}
    with healing(patient, f"connection dropped {when} {request_}"):
        answer = patient.publish(name, patient.origin("a"), **options)
        until("the connection was dropped", lambda: between.struck)
        assert answer["status"] == "active"


def test_every_connection_is_dropped(patient: Patient, between: Interference) -> None:
    between.make(Trouble("", drop="before"))
    told(patient, "all-dropped", "the Data Plane API at")
    with healing(patient, "every connection dropped"):
        between.clear()


class Refused(msgspec.Struct, frozen=True):
    """A refusal as the real API words it."""

    request: str
    status: int
    message: str


NO_SPACE = "write /var/lib/dataplaneapi/tx: no space left on device"
REFUSALS = {
    "406-reload": Refused(RELOAD, 406, "transaction is outdated and cannot be committed"),
    "409-reload": Refused(
        RELOAD, 409, "version mismatch: version in configuration file is 9, given version is 7"
    ),
    "429-reload": Refused(RELOAD, 429, "cannot start a new transaction, reached the maximum"),
    "500-reload": Refused(RELOAD, 500, NO_SPACE),
    "503-reload": Refused(RELOAD, 503, "the gateway has nobody to ask"),
    "500-server": Refused(SERVER, 500, "runtime error: invalid memory address"),
    "500-entry": Refused(ENTRY, 500, "runtime error: invalid memory address"),
    "503-server": Refused(SERVER, 503, "the gateway has nobody to ask"),
}
IN_WRITES = {
    "406-write": Refused(WRITE, 406, "transaction is outdated and cannot be committed"),
    "409-write": Refused(WRITE, 409, "version mismatch: version in configuration file is 9"),
    "429-write": Refused(WRITE, 429, "cannot start a new transaction, reached the maximum"),
    "500-write": Refused(WRITE, 500, NO_SPACE),
    "500-pools": Refused(POOLS, 500, NO_SPACE),
    "500-map": Refused(MAP, 500, NO_SPACE),
}


@pytest.mark.parametrize(
    "name", REFUSALS if LONG else ["409-reload", "500-reload", "500-server", "503-server"]
)
def test_refusals_of_the_api(patient: Patient, between: Interference, name: str) -> None:
    """The API's own trouble is no route's fault: it waits, and is brought in afterwards."""
    refused = REFUSALS[name]
    words = "status 503" if refused.status == 503 else refused.message
    between.make(Trouble(refused.request, status=refused.status, message=refused.message))
    options = unseen(name) if refused.request == RELOAD else {}
    patient.publish(f"refused-{name}", patient.origin("a"), wait=0, **options)
    patient.until_it_says(words)

    def waits() -> bool:
        route = patient.route(f"refused-{name}")
        return (route["status"], words in route.get("reason", "")) == ("pending", True)

    until(
        "the route waits, and says why", waits, detail=lambda: str(patient.route(f"refused-{name}"))
    )
    with healing(patient, f"{refused.status} to {refused.request}"):
        between.clear()


@pytest.mark.parametrize("name", IN_WRITES if LONG else ["409-write", "500-write", "500-pools"])
def test_refusals_of_writes(patient: Patient, between: Interference, name: str) -> None:
    """Routes are live all the same; that the files are behind is a warning."""
    refused = IN_WRITES[name]
    between.make(Trouble(refused.request, status=refused.status, message=refused.message))
    check = refused.request == WRITE
    answer = patient.publish(f"refused-{name}", patient.origin("a"), check=check)
    assert answer["status"] == "active"
    until("there is a warning", lambda: any(refused.message in w for w in patient.warnings()))
    assert patient.reasons() == ""
    with healing(patient, f"{refused.status} to {refused.request}"):
        between.clear()
    assert patient.warnings() == []


def test_wrong_password(patient: Patient) -> None:
    dataplane = patient.dataplane
    settings = dataplane.files.settings.read_text()
    dataplane.files.settings.write_text(settings.replace(dataplane.password, "another"))
    dataplane.kill()
    dataplane.start(wait=False)
    told(patient, "wrong-password", "doesn't know the user or the password")
    assert "FRONTSERVER_DATAPLANE_PASSWORD" in patient.reasons()
    with healing(patient, "wrong password"):
        dataplane.files.settings.write_text(settings)
        dataplane.restart()


def test_an_api_without_v3(patient: Patient, between: Interference) -> None:
    """A Data Plane API 2.x answers every path of v3 so."""
    between.make(
        Trouble("", status=404, message="path /v3/services/haproxy/runtime/info was not found")
    )
    told(patient, "too-old", "has no such call")
    assert "too old" in patient.reasons()
    with healing(patient, "an API without /v3"):
        between.clear()


def test_too_many_open_transactions(patient: Patient) -> None:
    """Somebody else's, left open until the API begins no more: our writes need none of them."""
    with patient.dataplane.client() as client:
        mine = []
        while True:
            version = client.get("/services/haproxy/configuration/version").json()
            answer = client.post(f"/services/haproxy/transactions?version={version}")
            if answer.status_code == 429:
                break
            mine.append(answer.json()["id"])
        answer = patient.publish("many-open", patient.origin("a"))
        assert answer["status"] == "active"
        answer = patient.publish("many-open-reload", patient.origin("b"), **unseen("Many"))
        assert answer["status"] == "active"
        patient.until_written()
        assert patient.reasons() == ""
        assert patient.warnings() == []
        with healing(patient, "20 open transactions"):
            for transaction in mine:
                client.delete(f"/services/haproxy/transactions/{transaction}").raise_for_status()
