"""Beside an operator's configuration of 300 lines: what happens to each of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from harness.ports import free_port
from harness.stack import Stack
from tests.e2e.faults import LONG

pytestmark = pytest.mark.dataplane_backend

MakeStack = Callable[..., Stack]

CHANGES = 200 if LONG else 25
FOREIGN = Path(__file__).with_name("foreign.cfg").read_text()
CONDITION = """\
.if defined(FRONTSERVER_TEST_NEVER)
    http-request deny
.else
    http-request set-header X-Condition else
.endif
"""


class Sites:
    """The operator's sites, on ports of their own."""

    def __init__(self, *, conditions: bool) -> None:
        self.second, self.third = free_port(), free_port()
        text = FOREIGN.replace("{second}", str(self.second)).replace("{third}", str(self.third))
        self.text = text.replace("@if\n", CONDITION if conditions else "")

    def answers(self, first: int) -> list[object]:
        """What each of them says to each kind of request."""
        asked = [
            *((first, path) for path in ("/", "/healthz", "/admin", "/old/07", "/private")),
            *((self.second, path) for path in ("/", "/a", "/b")),
            (self.third, "/"),
        ]
        with httpx.Client(trust_env=False, timeout=5) as client:
            said = [client.get(f"http://127.0.0.1:{port}{path}") for port, path in asked]
            said.append(
                client.get(f"http://127.0.0.1:{first}/private", auth=("alice", "wonderland"))
            )
        kept = ("x-site", "x-part", "location", "www-authenticate")
        return [(a.status_code, a.text, {name: a.headers.get(name) for name in kept}) for a in said]


def change(stack: Stack) -> None:
    """Routes come, change and go, some with a reload."""
    agent, origin = stack.registered("changes"), stack.origin("changes")

    def one(number: int) -> int:
        name = f"foreign-{number % 25}"
        if number % 5 == 4:
            agent.api.http(name, origin.url, wait=30)
            return agent.api.remove(name, wait=30).status_code
        headers = {"request": {"set": {f"X-Foreign-{number % 3}": str(number)}}}
        options = {"headers": headers} if number % 20 == 10 else {}
        return agent.api.http(name, origin.url, wait=30, **options).status_code

    with ThreadPoolExecutor(2) as pool:
        answers = Counter(pool.map(one, range(CHANGES)))
    assert set(answers) <= {200, 201, 404}, answers


def begins(line: str) -> bool:
    """Whether a line begins a section that has defaults, or is one."""
    return line.startswith(("defaults", "frontend ", "backend ", "listen "))


def differences(before: str, after: str) -> tuple[Counter[str], Counter[str]]:
    """The lines that the operator had and has no more, and those that came to them.

    Blanks and the order don't count, nor do our own sections.
    """
    theirs, ours = [], False
    for line in after.splitlines():
        if begins(line) or (line and not line[0].isspace() and line[0] != "#"):
            ours = re.match(r"\S+ (fs_|p[0-9a-f]{12})", line) is not None
        if not ours or line.startswith("#"):
            theirs.append(line)
    had, has = (
        Counter(filter(None, (" ".join(line.split()) for line in lines)))
        for lines in (before.splitlines(), theirs)
    )
    return had - has, has - had


@pytest.mark.parametrize("pools", [True, False])
def test_files_apart_leave_the_operators_as_it_is(make_stack: MakeStack, pools: bool) -> None:
    """Byte for byte, conditions and comments and all; and his sites answer as before."""
    sites = Sites(conditions=True)
    assert sites.text.count("\n") >= 300
    dataplane = {"operator": sites.text, "pools": pools}
    stack = make_stack(backend="dataplane", dataplane=dataplane, start=False)
    assert stack.dataplane is not None
    files = stack.dataplane.files
    before, answers = files.operator_config.read_bytes(), sites.answers(files.operator_port)
    stack.front.start()
    change(stack)
    stack.dataplane.restart()
    stack.front.wait_ready()
    assert files.operator_config.read_bytes() == before
    assert sites.answers(files.operator_port) == answers


def test_one_file_is_rewritten_by_the_api_alone(make_stack: MakeStack) -> None:
    """Each line that differs afterwards has one of the causes that docs/dataplane.md lists."""
    sites = Sites(conditions=False)
    stack = make_stack(
        backend="dataplane",
        dataplane={"operator": sites.text, "single_file": True},
        environ={"FRONTSERVER_DATAPLANE_FILE": "shared"},
        start=False,
    )
    assert stack.dataplane is not None
    files = stack.dataplane.files
    before, answers = files.config.read_text(), sites.answers(files.operator_port)
    stack.front.start()
    change(stack)
    stack.front.wait_ready()
    stack.front.terminate()
    lost, new = differences(before, files.config.read_text())
    # Which defaults a section has is said, since the API moves sections: see docs/dataplane.md.
    assert {line for line in lost if not begins(line)} <= {"# The end."}
    assert {line for line in new if not begins(line) and not line.startswith("#")} == set()
    named = {line.split(" from ")[0]: line for line in new if begins(line)}
    for line in lost:
        if begins(line) and line != "defaults":
            assert " from unnamed_defaults_" in named.pop(line)
    assert set(named) == {"defaults unnamed_defaults_1", "defaults unnamed_defaults_2"}
    text = files.config.read_text()
    assert "frontend site_one from unnamed_defaults_1" in text
    assert "frontend site_two from unnamed_defaults_2" in text
    assert sites.answers(files.operator_port) == answers
