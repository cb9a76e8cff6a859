"""Fixtures of the end-to-end tests: real stacks, and evidence when a test fails."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UnavailableError
from harness.haproxy import find_haproxy
from harness.interference import Interference
from harness.mongo import find_mongod
from harness.patient import Patient
from harness.stack import NativeStack, chosen_backend, live

EVIDENCE = Path(__file__).parents[2] / ".evidence"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes minutes; left out where time is short")
    config.addinivalue_line(
        "markers", "file_backend(reason): what only the file backend does; skipped with any other"
    )
    config.addinivalue_line(
        "markers", "dataplane_backend: on a Data Plane API, whatever HARNESS_BACKEND says"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what another backend than the one that is tested does."""
    marker = item.get_closest_marker("file_backend")
    if marker is not None and chosen_backend() != "file":
        pytest.skip(f"the file backend's alone: {marker.args[0]}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    """On failure, keep what every open stack knows, and say where."""
    report = yield
    if report.failed:
        for number, stack in enumerate(live()):
            name = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{item.path.stem}-{item.name}-{number}")
            stack.evidence(EVIDENCE / name)
            report.sections.append(("evidence", f"logs and configuration: {EVIDENCE / name}"))
    return report


@pytest.fixture(scope="session")
def haproxy() -> Path:
    """The HAProxy to test with; without one these tests fail, they don't skip."""
    return find_haproxy()


@pytest.fixture(scope="session")
def mongod_binary() -> Path:
    """The mongod to test with, or a skip with the reason."""
    try:
        return find_mongod()
    except UnavailableError as error:
        pytest.skip(f"no mongod here: {error}")


@pytest.fixture(scope="session")
def stack(haproxy: Path) -> Iterator[NativeStack]:
    """A stack shared by all tests that break nothing; each uses agents and names of its own."""
    with NativeStack(haproxy=haproxy, https=True) as stack:
        yield stack


@pytest.fixture
def make_stack(haproxy: Path) -> Iterator[Callable[..., NativeStack]]:
    """A stack for one test, where it breaks things; open until the evidence is collected."""
    with contextlib.ExitStack() as stacks:
        yield lambda **options: stacks.enter_context(NativeStack(haproxy=haproxy, **options))


@pytest.fixture(scope="session")
def between() -> Iterator[Interference]:
    """What stands between the front server of `ward` and its Data Plane API."""
    with Interference() as between:
        yield between


@pytest.fixture(scope="session")
def ward(haproxy: Path, between: Interference) -> Iterator[Patient]:
    """A stack on a Data Plane API that is broken again and again; see `patient`."""
    stack = NativeStack(
        haproxy=haproxy,
        backend="dataplane",
        environ={"FRONTSERVER_DATAPLANE_URL": between.url},
    )
    assert stack.dataplane is not None
    between.target = stack.dataplane.port
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
