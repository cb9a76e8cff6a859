"""Fixtures of the end-to-end tests: real stacks, and evidence when a test fails."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import plugin
from harness.choice import chosen_backend, make_parts
from harness.errors import UnavailableError
from harness.interference import Interference
from harness.parts import Parts
from harness.patient import Patient
from harness.plugin import (
    dataplane_contract,
    frontserver_postgresql,
    frontserver_stack,
    pytest_addoption,
    pytest_runtest_makereport,
    pytest_runtest_protocol,
)
from harness.stack import Stack
from tests.e2e.report import REPORT

__all__ = [
    "dataplane_contract",
    "frontserver_postgresql",
    "frontserver_stack",
    "pytest_addoption",
    "pytest_runtest_makereport",
    "pytest_runtest_protocol",
]


def pytest_configure(config: pytest.Config) -> None:
    plugin.pytest_configure(config)
    junit = config.getoption("xmlpath")
    REPORT.begin(Path(junit) if junit else None)
    config.addinivalue_line(
        "markers", "long: takes minutes, or is alike on both backends; left out where time is short"
    )
    config.addinivalue_line(
        "markers", "file_backend(reason): what only the file backend does; skipped with any other"
    )
    config.addinivalue_line(
        "markers", "dataplane_backend: on a Data Plane API, whatever HARNESS_BACKEND says"
    )
    config.addinivalue_line(
        "markers", "mongodb: has a mongod, of the kind that HARNESS_MONGODB says; marked by itself"
    )
    config.addinivalue_line(
        "markers", "one_mongodb: has a mongod of one kind, whatever HARNESS_MONGODB says"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what has a chosen mongod: all else would run the same again with the other kind."""
    for item in items:
        has_one = "mongod_binary" in getattr(item, "fixturenames", ())
        if has_one and item.get_closest_marker("one_mongodb") is None:
            item.add_marker("mongodb")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what another backend than the one that is tested does."""
    marker = item.get_closest_marker("file_backend")
    if marker is not None and chosen_backend() != "file":
        pytest.skip(f"the file backend's alone: {marker.args[0]}")


@pytest.fixture(scope="session")
def parts() -> Parts:
    """What stacks are made of; without a HAProxy these tests fail, they don't skip."""
    return make_parts()


@pytest.fixture(scope="session")
def haproxy(parts: Parts) -> Path:
    """The HAProxy to test with, on its machine."""
    return parts.haproxy()


@pytest.fixture(scope="session")
def mongod_binary(tmp_path_factory: pytest.TempPathFactory, parts: Parts) -> Path:
    """The mongod to test with, on its machine, or a skip with the reason."""
    try:
        place = tmp_path_factory.mktemp("mongod")
        return parts.mongod(place, place)[1]
    except UnavailableError as error:
        pytest.skip(f"no mongod here: {error}")


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """A stack shared by all tests that break nothing; each uses agents and names of its own."""
    with Stack(https=True) as stack:
        yield stack


@pytest.fixture
def make_stack() -> Iterator[Callable[..., Stack]]:
    """A stack for one test, where it breaks things; open until the evidence is collected."""
    with contextlib.ExitStack() as stacks:
        yield lambda **options: stacks.enter_context(Stack(**options))


@pytest.fixture(scope="module")
def chosen_ward() -> Iterator[Patient]:
    """A stack on the backend that is tested, broken again and again; see `chosen_patient`."""
    with Stack() as stack:
        yield Patient(stack)


@pytest.fixture
def chosen_patient(chosen_ward: Patient) -> Iterator[Patient]:
    """`chosen_ward`, in good health, and visited."""
    chosen_ward.healed(30)
    chosen_ward.until_written()
    with chosen_ward:
        yield chosen_ward


@pytest.fixture(scope="session")
def between() -> Iterator[Interference]:
    """What stands between the front server of `ward` and its Data Plane API."""
    with Interference() as between:
        yield between


@pytest.fixture(scope="session")
def ward(between: Interference) -> Iterator[Patient]:
    """A stack on a Data Plane API that is broken again and again; see `patient`."""
    stack = Stack(
        backend="dataplane",
        environ={"FRONTSERVER_DATAPLANE_URL": between.url},
    )
    assert stack.dataplane is not None
    between.target, between.journal = stack.dataplane.port, stack.dataplane.journal
    with stack:
        yield Patient(stack)


@pytest.fixture
def patient(ward: Patient, between: Interference) -> Iterator[Patient]:
    """`ward`, in good health, and visited."""
    between.clear()
    if not ward.dataplane.haproxy.runs:
        ward.dataplane.revive()
    elif not ward.dataplane.runs:
        ward.dataplane.start()
    ward.healed(30)
    with ward:
        yield ward
        between.clear()
