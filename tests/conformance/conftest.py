"""Each test runs on the double and, where `DATAPLANEAPI_BIN` names it, on the real program."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.dataplane import find_dataplane
from harness.haproxy import find_haproxy
from harness.origin import Origin
from tests.conformance.site import Site, opened


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """On failure, show the ends of the logs of all sites that the test used."""
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Site):
                report.sections.append(("logs", value.dataplane.tail()))
    return report


@pytest.fixture(scope="session", params=["double", "real"])
def program(request: pytest.FixtureRequest) -> Path | None:
    """The Data Plane to test: a program, or `None` for the double."""
    if request.param == "double":
        return None
    found = find_dataplane()
    if found is None:
        pytest.skip("the real program isn't here: DATAPLANEAPI_BIN names no dataplaneapi")
    return found


@pytest.fixture(scope="session")
def haproxy() -> Path:
    return find_haproxy()


@pytest.fixture(scope="session")
def shared(haproxy: Path, program: Path | None) -> Iterator[Site]:
    with opened(haproxy, program) as site:
        yield site


@pytest.fixture
def site(shared: Site) -> Site:
    """A site in its first state."""
    shared.reset()
    return shared


@pytest.fixture
def make_site(haproxy: Path, program: Path | None) -> Iterator[Callable[..., Site]]:
    """Sites for one test, which may break them; options are those of `DataPlane`."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(opened(haproxy, program, **options))


@pytest.fixture(scope="session")
def origin() -> Iterator[Origin]:
    with Origin("origin") as origin:
        yield origin
