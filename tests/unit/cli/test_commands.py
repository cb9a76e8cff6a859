"""The `frontserver` command: what it prints, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """Settings of a front server of its own."""
    with tempfile.TemporaryDirectory(prefix="fs-") as directory:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("FRONTSERVER_")}
        yield kept | {
            "FRONTSERVER_BACKEND": "file",
            "FRONTSERVER_STATE_DIR": directory,
            "FRONTSERVER_LISTEN": f"127.0.0.1:{free_port()}",
            "FRONTSERVER_HTTP_BIND": f"127.0.0.1:{free_port()}",
            "FRONTSERVER_HTTPS_BIND": "off",
            "FRONTSERVER_MONGO_BIND": f"127.0.0.1:{free_port()}",
        }


def command(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "frontserver.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_bad_setting_has_a_line_of_its_own(environment: dict[str, str]) -> None:
    bad = environment | {"FRONTSERVER_LISTEN": "nowhere", "FRONTSERVER_COLOUR": "blue"}

    result = command(bad, "serve")

    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        "frontserver: FRONTSERVER_COLOUR: no such setting; see docs/settings.md",
        (
            "frontserver: FRONTSERVER_LISTEN: 'nowhere' is not HOST:PORT "
            "(such as 0.0.0.0:80 or [::]:80)"
        ),
    ]


def test_an_invited_agents_key_is_printed_and_only_its_hash_stored(
    environment: dict[str, str],
) -> None:
    result = command(environment, "agents", "invite", "Shop-1")

    key = result.stdout.strip()
    assert result.returncode == 0
    assert len(key) >= 32
    stored = (Path(environment["FRONTSERVER_STATE_DIR"]) / "state.sqlite3").read_bytes()
    assert b"shop-1" in stored
    assert key.encode() not in stored


def test_a_bad_agent_id_is_refused_in_one_line(environment: dict[str, str]) -> None:
    result = command(environment, "agents", "invite", "not an id")

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("frontserver: 'not an id' is not an agent id")


def test_the_configuration_is_rendered_and_checked(environment: dict[str, str]) -> None:
    rendered = command(environment, "config", "render")
    assert rendered.returncode == 0
    assert "frontend fs_in_http" in rendered.stdout
    assert "PRIVATE KEY" not in rendered.stdout

    with tempfile.TemporaryDirectory() as directory:
        written = command(environment, "config", "render", "--output", directory)
        assert written.returncode == 0
        assert (Path(directory) / "10-frontends.cfg").is_file()

    checked = command(environment, "config", "check")
    assert checked.returncode == 0
    assert checked.stdout.startswith("The configuration is valid")


def test_a_broken_template_is_named_with_its_line(environment: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "slots.cfg.j2").write_text("{% for slot in slots %}\n{{ nothing }}\n")
        broken = environment | {"FRONTSERVER_TEMPLATE_DIR": directory}

        result = command(broken, "config", "check")

    assert result.returncode == 1
    assert "slots.cfg.j2:" in result.stderr


@pytest.fixture
def templates(environment: dict[str, str], tmp_path: Path) -> Path:
    """A directory for the operator's templates, which `environment` names."""
    (tmp_path / "custom" / "profiles").mkdir(parents=True)
    environment["FRONTSERVER_TEMPLATE_DIR"] = str(tmp_path)
    return tmp_path / "custom"


@pytest.mark.parametrize("name", ["http_frontend.cfg.j2", "profiles/gold.cfg.j2"])
def test_what_haproxy_refuses_is_told_with_the_line_of_its_template(
    environment: dict[str, str], templates: Path, name: str
) -> None:
    """Of a profile too that no route has yet."""
    (templates / name).write_text("    # fine\n    no-such-directive {{ 1 + 1 }}\n")

    result = command(environment, "config", "check")

    assert result.returncode == 1
    assert f"made by {templates / name}:2: no-such-directive 2" in result.stderr


def test_a_profile_without_a_template_is_a_bad_setting(
    environment: dict[str, str], templates: Path
) -> None:
    environment["FRONTSERVER_ROUTE_PROFILES"] = "gold,internal"
    (templates / "profiles" / "gold.cfg.j2").write_text("    retries 1\n")

    for arguments in (("serve",), ("config", "check")):
        result = command(environment, *arguments)
        assert result.returncode == 2
        (line,) = result.stderr.splitlines()
        assert line.startswith("frontserver: FRONTSERVER_ROUTE_PROFILES: internal: ")
        assert line.endswith("has no custom/profiles/internal.cfg.j2")


def test_serve_refuses_a_template_that_does_not_render(
    environment: dict[str, str], templates: Path
) -> None:
    path = templates / "profiles" / "gold.cfg.j2"
    path.write_text("    retries {{ nothing }}\n")

    result = command(environment, "serve", "--stop-haproxy")

    assert result.returncode == 1
    assert f"{path}:1: 'nothing' is undefined" in result.stderr


def test_a_comparison_with_nothing_is_trouble(environment: dict[str, str]) -> None:
    result = command(environment, "config", "render", "--diff")

    assert (result.returncode, result.stdout) == (2, "")
    assert "no configuration on disk yet" in result.stderr


def test_a_file_that_the_dataplane_api_words_anew_is_not_compared(
    environment: dict[str, str],
) -> None:
    environment |= {
        "FRONTSERVER_BACKEND": "dataplane",
        "FRONTSERVER_DATAPLANE_USER": "fs",
        "FRONTSERVER_DATAPLANE_PASSWORD": "a-password",
    }
    result = command(environment, "config", "render", "--diff")

    assert (result.returncode, result.stdout) == (2, "")
    assert "can't be compared" in result.stderr


def test_changed_templates_need_a_front_server_to_take_them_up(
    environment: dict[str, str], templates: Path
) -> None:
    result = command(environment, "config", "reload")

    assert result.returncode == 1
    assert "no front server runs" in result.stderr


def test_stopping_a_haproxy_that_does_not_run(environment: dict[str, str]) -> None:
    result = command(environment, "haproxy", "stop")

    assert (result.returncode, result.stdout) == (0, "HAProxy wasn't running.\n")


def test_a_second_front_server_on_the_same_state_is_refused(environment: dict[str, str]) -> None:
    first = subprocess.Popen(
        [sys.executable, "-m", "frontserver.cli", "serve", "--stop-haproxy"],
        env=environment,
        stderr=subprocess.PIPE,
    )
    try:
        until_ready(environment["FRONTSERVER_LISTEN"])
        other = environment | {"FRONTSERVER_LISTEN": f"127.0.0.1:{free_port()}"}

        second = command(other, "serve")

        assert second.returncode == 1
        assert "another control plane" in second.stderr
    finally:
        first.send_signal(signal.SIGTERM)
        _, log = first.communicate(timeout=30)
    assert first.returncode == 0, log
    assert b"Traceback" not in log


def until_ready(listen: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"http://{listen}/health/ready").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("not ready in 30 s")


def test_a_taken_api_port_is_said_plainly(environment: dict[str, str]) -> None:
    host, port = environment["FRONTSERVER_LISTEN"].split(":")
    with socket.create_server((host, int(port))):
        result = command(environment, "serve", "--stop-haproxy")

    assert result.returncode == 1
    assert "the API can't listen" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_the_demo_tells_the_whole_story_and_stops(environment: dict[str, str]) -> None:
    kept = {k: v for k, v in environment.items() if not k.startswith("FRONTSERVER_")}
    with tempfile.TemporaryDirectory(prefix="fs-") as directory:
        result = command(kept, "demo", "--once", "--no-mongodb", "--directory", f"{directory}/d")

    assert result.returncode == 0, result.stderr
    assert "hello.apps.example.com: active" in result.stdout
    assert "200" in result.stdout
    assert "Stopped: the front server, HAProxy, the app and the database." in result.stdout
