"""Transactions: their life, what outdates them, how many there may be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.conformance.contract import BROKEN
from tests.conformance.site import BACKENDS, CONFIGURATION, RAW, TRANSACTIONS, Site

FORCED = {"force_reload": True}


def put(site: Site, transaction: str, **query: Any) -> int:
    """The status of a commit."""
    return site.api.put(f"{TRANSACTIONS}/{transaction}", params=query).status_code


def add(site: Site, transaction: str, name: str, origin: str = "cp_defaults") -> int:
    """The status of a backend added in a transaction."""
    query = {"transaction_id": transaction, "full_section": True}
    body = {"name": name, "from": origin}
    return site.api.post(BACKENDS, params=query, json=body).status_code


def test_a_forced_commit_runs_when_it_is_answered(site: Site) -> None:
    version = site.version()
    transaction = site.begin()
    known = {"_version": version, "id": transaction, "status": "in_progress"}
    assert [known] == site.api.get(TRANSACTIONS).json()
    assert known == site.api.get(f"{TRANSACTIONS}/{transaction}").json()
    assert add(site, transaction, "cp_new") == 202
    assert not site.runs("cp_new")

    answer = site.api.put(f"{TRANSACTIONS}/{transaction}", params=FORCED)

    assert answer.status_code == 200
    assert answer.json() == {"_version": version, "id": transaction, "status": "success"}
    assert site.runs("cp_new")
    assert site.version() == version + 1
    assert site.api.get(f"{TRANSACTIONS}/{transaction}").status_code == 404
    assert put(site, transaction) == 404


def test_another_commit_runs_later(site: Site) -> None:
    transaction = site.begin()
    add(site, transaction, "cp_new")

    answer = site.api.put(f"{TRANSACTIONS}/{transaction}")

    assert answer.status_code == 202
    assert site.wait_for_reload(answer.headers["reload-id"])["status"] == "succeeded"
    assert site.runs("cp_new")


def test_a_transaction_shows_what_it_would_be(site: Site) -> None:
    transaction = site.begin()
    add(site, transaction, "cp_new")
    query = {"transaction_id": transaction}

    assert "backend cp_new" in site.api.get(RAW, params=query).text
    assert site.api.get(f"{BACKENDS}/cp_new", params=query).status_code == 200
    assert site.api.get(f"{BACKENDS}/cp_new").status_code == 404


def test_an_empty_commit_is_a_version_and_a_reload(site: Site) -> None:
    version, worker = site.version(), site.worker()

    assert put(site, site.begin(), **FORCED) == 200
    assert (site.version(), site.worker() == worker) == (version + 1, False)


def test_the_version_is_wanted(site: Site) -> None:
    answer = site.api.post(TRANSACTIONS, extensions=BROKEN)
    assert (answer.status_code, answer.json()["code"]) == (422, 602)
    assert site.api.post(TRANSACTIONS, params={"version": 99}).status_code == 409


def test_one_of_two_on_the_same_version_is_outdated(site: Site) -> None:
    first, second = site.begin(), site.begin()
    assert put(site, first, **FORCED) == 200

    assert {second: "outdated"} == site.statuses()
    assert put(site, second, **FORCED) == 406
    assert add(site, second, "cp_new") == 400


def test_of_six_at_once_one_succeeds(site: Site) -> None:
    transactions = [site.begin() for _ in range(6)]
    for number, transaction in enumerate(transactions):
        add(site, transaction, f"cp_new_{number}")

    with ThreadPoolExecutor(6) as pool:
        statuses = sorted(pool.map(lambda one: put(site, one), transactions))

    assert statuses == [202, 406, 406, 406, 406, 406]


def test_an_implicit_write_outdates_a_transaction(site: Site) -> None:
    transaction = site.begin()
    query = {"version": site.version(), **FORCED}
    body = {"name": "cp_new", "from": "cp_defaults"}
    assert site.api.post(BACKENDS, params=query, json=body).status_code == 201
    assert {transaction: "in_progress"} == site.statuses()

    assert put(site, transaction) == 409
    assert {transaction: "outdated"} == site.statuses()
    assert put(site, transaction) == 406


def test_of_six_implicit_writes_at_once_one_succeeds(site: Site) -> None:
    query = {"version": site.version()}

    def write(number: int) -> int:
        body = {"name": f"cp_new_{number}", "from": "cp_defaults"}
        return site.api.post(BACKENDS, params=query, json=body).status_code

    with ThreadPoolExecutor(6) as pool:
        statuses = sorted(pool.map(write, range(6)))

    assert statuses == [202, 409, 409, 409, 409, 409]


def test_a_refused_commit_leaves_everything_as_it_was(site: Site) -> None:
    version, disk = site.version(), site.disk()
    transaction = site.begin()
    query = {"transaction_id": transaction}
    body = {"name": "s1", "address": "no.such.host.example.com", "port": 80}
    assert site.api.post(f"{BACKENDS}/cp_slot_1/servers", params=query, json=body).is_success

    answer = site.api.put(f"{TRANSACTIONS}/{transaction}", params=FORCED)

    assert answer.status_code == 400
    assert "validation error" in answer.json()["message"]
    assert {transaction: "failed"} == site.statuses()
    assert put(site, transaction, **FORCED) == 406
    assert (site.version(), site.disk()) == (version, disk)
    assert site.api.get(f"{BACKENDS}/cp_slot_1/servers").json() == []


def test_an_answer_of_400_may_have_changed_the_transaction(site: Site) -> None:
    transaction = site.begin()
    assert add(site, transaction, "cp_empty", "cp_unknown_defaults") == 400

    assert put(site, transaction, **FORCED) == 200
    assert "\nbackend cp_empty\n" in site.disk()


def test_there_may_be_twenty_and_implicit_writes_go_on(site: Site) -> None:
    for _ in range(20):
        site.begin()

    answer = site.api.post(TRANSACTIONS, params={"version": site.version()})
    assert (answer.status_code, "retry-after" in answer.headers) == (429, False)
    assert site.post(site.base).status_code == 201


def test_outdated_and_failed_ones_do_not_count(site: Site) -> None:
    for _ in range(20):
        site.begin()
    first = next(iter(site.statuses()))
    assert put(site, first, **FORCED) == 200

    assert set(site.statuses().values()) == {"outdated"}
    assert site.begin()


def test_a_transaction_can_be_deleted_once_whatever_its_status(site: Site) -> None:
    first, second = site.begin(), site.begin()
    put(site, first, **FORCED)
    third = site.begin()

    for transaction in (second, third):
        path = f"{TRANSACTIONS}/{transaction}"
        assert [site.api.delete(path).status_code for _ in range(2)] == [204, 404]
    assert site.statuses() == {}


def test_an_unknown_transaction_is_absent_or_a_mistake(site: Site) -> None:
    query = {"transaction_id": "nosuch"}

    assert site.api.get(f"{TRANSACTIONS}/nosuch").status_code == 404
    assert put(site, "nosuch") == 404
    assert add(site, "nosuch", "cp_new") == 400
    assert site.api.get(f"{CONFIGURATION}/version", params=query).status_code == 400


def test_the_list_can_be_asked_by_some_statuses(site: Site) -> None:
    first, second = site.begin(), site.begin()
    put(site, first, **FORCED)
    third = site.begin()

    def listed(status: str) -> list[str]:
        answer = site.api.get(TRANSACTIONS, params={"status": status}, extensions=BROKEN)
        return [known["id"] for known in answer.json()] if answer.is_success else [answer.text]

    assert (listed("in_progress"), listed("failed")) == ([third], [])
    assert "should be one of [failed in_progress]" in listed("outdated")[0]
    assert second in site.statuses()


def test_one_that_is_open_outlives_the_data_plane(site: Site) -> None:
    transaction = site.begin()
    add(site, transaction, "cp_new")
    site.dataplane.restart()

    assert {transaction: "in_progress"} == site.statuses()
    assert add(site, transaction, "cp_newer") == 202
    assert put(site, transaction, **FORCED) == 200
    assert site.runs("cp_newer")


def test_one_whose_start_failed_is_open_without_a_version(site: Site) -> None:
    """As after a start on a full disk: a file with nothing in it, which counts."""
    (site.files.transactions / f"{site.files.config.name}.leaked").touch()

    (leaked,) = site.api.get(TRANSACTIONS).json()
    assert leaked == {"id": "leaked", "status": "in_progress"}
    assert site.api.delete(f"{TRANSACTIONS}/leaked").status_code == 204
