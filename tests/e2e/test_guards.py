"""Two of a kind never share a state directory or a port; bad settings stop the start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from harness.errors import HarnessError
from harness.frontserver import FrontServer
from harness.polling import until
from harness.stack import Stack

MakeStack = Callable[..., Stack]


def test_a_second_control_plane_of_the_same_state_is_refused(stack: Stack, haproxy: Path) -> None:
    """It says so, and what runs goes on."""
    agent = stack.registered("guarded")
    assert agent.api.http("guarded", stack.origin("guarded").url).status_code == 201
    second = FrontServer(stack.directory / "second", haproxy=haproxy, machine=stack.front.machine)
    second.environ["FRONTSERVER_STATE_DIR"] = str(stack.front.state_dir)
    second.environ["FRONTSERVER_CONFIG_DIR"] = str(stack.front.config_dir)
    try:
        with pytest.raises(HarnessError, match="serve ended with"):
            second.start()
    finally:
        second.clean_up()
    assert stack.get("guarded").status_code == 200
    stack.front.wait_ready()


@pytest.mark.file_backend("the front server doesn't start HAProxy")
def test_a_second_haproxy_on_the_same_port_never_starts(stack: Stack, haproxy: Path) -> None:
    """SO_REUSEPORT would let both answer: visitors would meet one or the other."""
    agent = stack.registered("port")
    assert agent.api.http("port", stack.origin("port").url).status_code == 201
    second = FrontServer(stack.directory / "rival", haproxy=haproxy, machine=stack.front.machine)
    second.environ["FRONTSERVER_HTTP_BIND"] = stack.front.environ["FRONTSERVER_HTTP_BIND"]
    try:
        second.start(ready=False)
        health = f"{second.api_url}/health/ready"

        def told() -> bool:
            answer = httpx.get(health, trust_env=False)
            assert answer.status_code == 503
            return str(stack.front.http_port) in answer.text

        until("it says which port is taken", told, detail=second.tail)
        assert second.haproxy_pids() == ()
    finally:
        second.clean_up()
    assert {stack.get("port").status_code for _ in range(20)} == {200}


def test_bad_settings_are_all_told_at_once(stack: Stack, haproxy: Path) -> None:
    bad = FrontServer(
        stack.directory / "bad",
        haproxy=haproxy,
        machine=stack.front.machine,
        environ={"FRONTSERVER_HTTP_BIND": "nonsense", "FRONTSERVER_ENROLMENT": "maybe"},
    )
    done = bad.run("serve", check=False)
    assert done.returncode == 2
    assert "FRONTSERVER_HTTP_BIND" in done.stderr
    assert "FRONTSERVER_ENROLMENT" in done.stderr
    assert "Traceback" not in done.stderr
