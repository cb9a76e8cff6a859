"""A pytest plugin: options, a stack as a fixture, and evidence when a test fails.

pytest -p harness.plugin --haproxy 3.4 --backend dataplane --where containers

def test_my_shop(frontserver_stack):
    frontserver_stack.agent("a1").http("shop", "http://127.0.0.1:8000")
"""

from __future__ import annotations

import contextlib
import os
import re
import unittest
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from harness.choice import BACKEND, BACKENDS, HAPROXY, MONGODB, MONGODBS, PLACES, WHERE
from harness.errors import UnavailableError
from harness.evidence import Shelf, kept_on, shelf
from harness.postgresql import Postgresql
from harness.stack import Stack, live

_EVIDENCE = ".evidence"
# Of a directory's name; parameters of a test may be longer than a file system bears.
_LONGEST = 200


def pytest_addoption(parser: pytest.Parser) -> None:
    """Each is one of the HARNESS_ variables, and wins over it."""
    group = parser.getgroup("frontserver", "the front server's harness")
    group.addoption("--haproxy", metavar="VERSION", help="HAProxy's version, such as 3.4")
    group.addoption("--backend", choices=BACKENDS, help="what drives HAProxy")
    group.addoption("--mongodb", choices=MONGODBS, help="what agents' databases are")
    group.addoption("--where", choices=PLACES, help="where the parts of a stack run")


def pytest_configure(config: pytest.Config) -> None:
    """Hand the options to whatever stack is made."""
    chosen = {
        BACKEND: "--backend",
        HAPROXY: "--haproxy",
        MONGODB: "--mongodb",
        WHERE: "--where",
    }
    for variable, option in chosen.items():
        if config.getoption(option):
            os.environ[variable] = config.getoption(option)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Give the test a place for evidence, which a stack uses that an error ends."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", item.nodeid)[:_LONGEST].strip("-")
    skips = (pytest.skip.Exception, unittest.SkipTest)
    with kept_on(Shelf(item.config.rootpath / _EVIDENCE / name, unless=skips)):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """On failure, keep what every open stack knows, say where, and what else the report says."""
    report = yield
    if report.failed:
        for stack in live():
            report.sections.append(("evidence", stack.keep_evidence()))
        with contextlib.suppress(OSError):
            shelf().tell("failure.txt", _told(report))
    return report


def _told(report: pytest.TestReport) -> str:
    """The error, with what hypothesis noted, and what was printed."""
    sections = (f"--- {title} ---\n{text}" for title, text in report.sections)
    return "\n".join([report.longreprtext, *sections, ""])


@pytest.fixture(autouse=True)
def dataplane_contract() -> Iterator[None]:
    """Fails the test if a request to a Data Plane API, or an answer, wasn't as its document has it.

    A stack of the test's own says so at its end; this is for those that go on.
    """
    yield
    hold_to_contract()


def hold_to_contract() -> None:
    """Raises `ContractError` for what broke the contract in a stack that is open."""
    for stack in live():
        if stack.dataplane is not None:
            stack.dataplane.journal.complain()


@pytest.fixture
def frontserver_stack() -> Iterator[Stack]:
    """A stack of the test's own, as the options say; a skip with the reason where none can be."""
    try:
        stack = Stack()
    except UnavailableError as error:
        pytest.skip(f"no stack here: {error}")
    with stack:
        yield stack


@pytest.fixture
def frontserver_postgresql(frontserver_stack: Stack) -> Postgresql:
    """A PostgreSQL server of that stack, running; a skip with the reason where there is none."""
    try:
        return frontserver_stack.postgresql()
    except UnavailableError as error:
        pytest.skip(f"no PostgreSQL here: {error}")
