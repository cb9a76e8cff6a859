"""An operator's templates: changed while everything runs, broken, mended, compared."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.errors import HarnessError
from harness.stack import Stack

MakeStack = Callable[..., Stack]
GOLD = "    http-response set-header x-class {}\n"


class Operator:
    """A stack with templates of its own, and how an operator works with them."""

    def __init__(self, make_stack: MakeStack, directory: Path) -> None:
        self.directory = directory
        self.write("profiles/gold", GOLD.format("gold"))
        self.stack = make_stack(
            environ={
                "FRONTSERVER_TEMPLATE_DIR": str(directory),
                "FRONTSERVER_ROUTE_PROFILES": "gold",
            }
        )
        self.origin = self.stack.origin("site")
        self.agent = self.stack.registered("site")
        assert self.agent.api.http("site", self.origin.url).json()["status"] == "active"

    def write(self, name: str, text: str) -> Path:
        path = self.directory / "custom" / f"{name}.cfg.j2"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def hang_up(self) -> None:
        os.kill(self.stack.front.pid, signal.SIGHUP)

    def ready(self) -> Any:
        answer = httpx.get(f"{self.stack.front.api_url}/health/ready", trust_env=False)
        return answer.json()["haproxy"] | {"status": answer.status_code}

    def header(self, name: str, subdomain: str = "site") -> str | None:
        return self.stack.get(subdomain).headers.get(name)

    def diff(self) -> tuple[int, str]:
        result = self.stack.front.run("config", "render", "--diff", check=False)
        return result.returncode, result.stdout + result.stderr


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it didn't come to that in time"
        time.sleep(0.05)


@pytest.fixture
def operator(make_stack: MakeStack, tmp_path: Path) -> Operator:
    return Operator(make_stack, tmp_path / "templates")


def test_a_changed_template_is_taken_up_at_sighup(operator: Operator) -> None:
    before = operator.stack.front.haproxy_pids()
    operator.write("http_frontend", "    http-response set-header x-operator here\n")
    assert operator.header("x-operator") is None, "nothing is taken up before it is asked for"
    operator.hang_up()

    until(lambda: operator.header("x-operator") == "here")
    until(lambda: operator.ready()["status"] == 200)
    assert operator.ready()["warnings"] == []
    assert set(before) & set(operator.stack.front.haproxy_pids()), "the master is the same"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("    # fine\n{{ nobody }}\n", 2),
        ("{% if %}\n", 1),
        ("    # fine\n\n    no-such-directive on\n", 3),
    ],
    ids=["undefined", "syntax", "refused by HAProxy"],
)
def test_a_broken_template_is_told_with_its_line_and_traffic_goes_on(
    operator: Operator, text: str, line: int
) -> None:
    path = operator.write("http_frontend", text)
    operator.hang_up()

    until(lambda: bool(operator.ready()["warnings"]))
    assert f"{path}:{line}" in operator.ready()["warnings"][0]
    assert operator.ready()["status"] == 200
    assert operator.stack.get("site").status_code == 200
    later = operator.agent.api.http("later", operator.origin.url)
    assert later.json()["status"] == "active", "changes of routes go on too"
    profiled = operator.agent.api.http("profiled", operator.origin.url, profile="gold", wait=20)
    assert profiled.json()["status"] == "active", "even those that need a reload"

    operator.write("http_frontend", "    http-response set-header x-operator mended\n")
    operator.hang_up()
    until(lambda: operator.header("x-operator") == "mended")
    assert operator.ready()["warnings"] == []


def test_a_broken_template_is_refused_at_start_and_haproxy_serves_on(operator: Operator) -> None:
    operator.stack.front.terminate()
    path = operator.write("profiles/gold", "    # fine\n    retries {{ nothing }}\n")

    with pytest.raises(HarnessError):
        operator.stack.front.start()

    assert f"{path}:2: 'nothing' is undefined" in operator.stack.front.tail()
    assert operator.stack.get("site").status_code == 200


def test_config_reload_refuses_what_is_broken_and_asks_for_the_rest(operator: Operator) -> None:
    path = operator.write("http_frontend", "    no-such-directive on\n")
    refused = operator.stack.front.run("config", "reload", check=False)
    assert refused.returncode == 1
    assert f"{path}:1" in refused.stderr
    assert operator.ready()["warnings"] == [], "the front server wasn't even asked"

    operator.write("http_frontend", "    http-response set-header x-operator here\n")
    assert operator.stack.front.run("config", "reload").returncode == 0
    until(lambda: operator.header("x-operator") == "here")


def test_a_profile_of_the_operators_is_for_those_who_ask(operator: Operator) -> None:
    """And its change reaches their routes, with one reload."""
    asked = operator.agent.api.http("asked", operator.origin.url, profile="gold", wait=20)
    assert asked.json()["status"] == "active"
    assert operator.header("x-class", "asked") == "gold"
    assert operator.header("x-class", "site") is None
    unknown = operator.agent.api.http("unknown", operator.origin.url, profile="silver")
    assert unknown.status_code == 422
    assert "gold" in unknown.json()["hint"]

    operator.write("profiles/gold", GOLD.format("platinum"))
    operator.hang_up()
    until(lambda: operator.header("x-class", "asked") == "platinum")
    until(lambda: operator.ready()["status"] == 200)


@pytest.mark.file_backend("the files are the Data Plane's")
def test_render_diff_says_what_a_change_would_do(operator: Operator) -> None:
    """Routes came and went, and sit where history put them: that is no difference."""
    for name in ("one", "two", "three"):
        operator.agent.api.http(name, operator.origin.url)
    operator.agent.api.remove("two")
    until(lambda: operator.diff()[0] == 0)
    assert operator.diff() == (0, "")

    operator.write("http_frontend", "    http-response set-header x-operator here\n")
    code, text = operator.diff()
    assert code == 1
    # The reload would also bring back the spare slots that routes have taken since.
    shown = text.partition("+++ rendered/10-frontends.cfg\n")[2].partition("\n--- ")[0]
    changed = [line for line in shown.splitlines() if line[:1] in {"+", "-"} and line[1:].strip()]
    assert changed == ["+    http-response set-header x-operator here"]

    operator.write("http_frontend", "{% if %}")
    code, text = operator.diff()
    assert code == 2
    assert "http_frontend.cfg.j2:1" in text
