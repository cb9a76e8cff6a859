"""The program: options, output, exit codes, the loop."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from frontserver.agent.cli import main
from frontserver.agent.daemon import Wake
from frontserver.agent.errors import LocalError
from frontserver.agent.program import App
from tests.unit.agent.fakes import (
    AGENT,
    DAY,
    DOMAIN,
    KEY,
    NOW,
    URL,
    Authority,
    FrontServer,
    listening,
    problem,
    serial,
)


class Host:
    """Runs the program against a front server in memory, with its own state directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.server = FrontServer()
        self.server.clock = lambda: self.now
        self.now = NOW
        self.slept: list[float] = []
        self.rotations: list[str] = []
        self.wakes: list[Wake] = []
        self.pauses: list[float] = []
        self.mongod_down = False
        self.environment: dict[str, str] = {
            "FRONTSERVER_URL": URL,
            "FRONTSERVER_AGENT_ID": AGENT,
            "FRONTSERVER_AGENT_KEY": KEY,
            "FRONTSERVER_AGENT_STATE": str(path / "state"),
            "FRONTSERVER_AGENT_CERT_DIR": str(path / "ssl"),
        }

    def __call__(self, *args: str, env: Mapping[str, str | None] | None = None) -> Result:
        app = App(
            transport=self.server.transport,
            rotate=self._rotate,
            sleep=self.slept.append,
            now=lambda: self.now,
            wait=self._wait,
        )
        return CliRunner().invoke(main, args, obj=app, env={**self.environment, **(env or {})})

    def json(self, *args: str) -> dict[str, Any]:
        result = self(*args, "--json")
        assert result.exit_code == 0, result.output
        answer: dict[str, Any] = json.loads(result.stdout)
        return answer

    def _rotate(self, uri: str, ca_file: Path) -> None:
        if self.mongod_down:
            raise LocalError("mongod is down")
        self.rotations.append(uri)

    def _wait(self, seconds: float) -> Wake:
        """Time passes in an instant, until the script says what else happens."""
        self.pauses.append(seconds)
        self.now = datetime.fromtimestamp(self.now.timestamp() + seconds, tz=self.now.tzinfo)
        return self.wakes.pop(0)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


# -- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [True, False])
def test_shared_options_stand_before_or_after_the_command(host: Host, before: bool) -> None:
    options = ["--agent-id", "A2", "--json"]
    result = host(*(options if before else ()), "routes", *(() if before else options))
    assert result.exit_code == 0
    assert json.loads(result.stdout)["agentId"] == "a2"


def test_a_flag_wins_over_the_environment_wherever_it_stands(host: Host) -> None:
    assert host("--agent-id", "a3", "routes").exit_code == 0
    assert host.server.calls[-1] == "GET /api/proxy/agents/a3"


@pytest.mark.parametrize("missing", ["FRONTSERVER_URL", "FRONTSERVER_AGENT_ID"])
def test_what_is_missing_is_named(host: Host, missing: str) -> None:
    result = host("routes", env={missing: None})
    assert result.exit_code == 2
    assert missing in result.stderr


def test_the_key_is_read_from_a_file(host: Host, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(f"{KEY}\n")
    key_file.chmod(0o600)
    no_key = {"FRONTSERVER_AGENT_KEY": None}
    result = host("routes", "--key-file", str(key_file), env=no_key)
    assert (result.exit_code, result.stderr) == (0, "")
    key_file.chmod(0o644)
    result = host("routes", "--key-file", str(key_file), env=no_key)
    assert "give it mode 0600" in result.stderr
    key_file.write_text("\n")
    result = host("routes", "--key-file", str(key_file), env=no_key)
    assert result.exit_code == 2
    assert "holds no key" in result.stderr


def test_the_token_is_kept_between_runs_until_it_expires(host: Host) -> None:
    host("routes")
    host("routes")
    assert host.server.calls.count("POST /api/agents/authenticate") == 1
    host.now += DAY
    host("routes")
    assert host.server.calls.count("POST /api/agents/authenticate") == 2


def test_a_kept_token_of_unknown_age_is_tried(host: Host, tmp_path: Path) -> None:
    host("routes")
    (file,) = (tmp_path / "state").iterdir()
    file.write_text(file.read_text().replace("2031-05-01T13:00:00+00:00", "soon"))
    assert host("routes").exit_code == 0
    assert host.server.calls.count("POST /api/agents/authenticate") == 1


# -- identity and routes ------------------------------------------------------------------------


def test_register_tells_the_result_and_no_secrets(host: Host) -> None:
    result = host("register", "--name", "host-7", "--target-ip", "203.0.113.9")
    assert result.output == "a1 is registered with target address 203.0.113.9\n"
    told = host.json("register")
    assert told["agentId"] == AGENT
    assert not {"token", "certificates"} & told.keys()
    assert "PRIVATE KEY" not in json.dumps(told)


def test_http_add_gathers_options_from_file_flags_and_pairs(host: Host, tmp_path: Path) -> None:
    options = tmp_path / "options.json"
    options.write_text('{"balance": "first", "timeouts": {"server": 9, "queue": 1}}')
    told = host.json(
        *("http", "add", "shop", "http://10.0.0.5:3000", "--options-file", str(options)),
        *("--check", "--check-path", "/health", "--sticky", "--redirect-https", "--maintenance"),
        *("--balance", "leastconn", "--option", "timeouts.server=30"),
        *("--option", "hostHeader=target", "--option", "maxConnections=5"),
    )
    assert told["route"]["options"] == {
        "balance": "leastconn",
        "timeouts": {"server": 30, "queue": 1},
        "check": {"path": "/health"},
        "sticky": True,
        "redirectHttps": True,
        "maintenance": True,
        "hostHeader": "target",
        "maxConnections": 5,
    }
    assert host("http", "add", "shop", "10.0.0.5", "--check").exit_code == 0
    assert list(host.server.bodies())[-1]["options"] == {"check": True}


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--option", "noequals"], "write NAME=JSON"),
        (["--options-file", "LIST"], "isn't a JSON object"),
        (["--options-file", "JUNK"], "isn't JSON"),
        (["--balance", "fair"], "fair"),
    ],
)
def test_bad_options_are_usage_errors(
    host: Host, tmp_path: Path, args: list[str], text: str
) -> None:
    (tmp_path / "LIST").write_text("[]")
    (tmp_path / "JUNK").write_text("{")
    paths = [str(tmp_path / a) if a.isupper() else a for a in args]
    result = host("http", "add", "shop", "10.0.0.5", *paths)
    assert result.exit_code == 2
    assert text in result.stderr
    assert host.server.requests == []


def test_routes_are_listed(host: Host) -> None:
    assert host("routes").output == "no routes\n"
    host("http", "add", "shop", "http://10.0.0.5:3000")
    host("http", "add", "app")
    host("mongodb", "add", "--host", "10.0.0.5")
    host.server.routes["http/shop"]["health"] = "down"
    host.server.routes["mongodb/a1"] |= {"status": "failed", "reason": "no slot"}
    assert [line.split() for line in host("routes").output.splitlines()] == [
        ["DOMAIN", "TYPE", "TARGET", "STATUS"],
        ["app.apps.example.com", "http", "(targets)", "active"],
        ["shop.apps.example.com", "http", "http://10.0.0.5:3000", "active,", "target", "down"],
        [DOMAIN, "mongodb", "10.0.0.5:27017", "failed", "(no", "slot)"],
    ]


def test_a_path_is_published_shown_and_removed_beside_others(host: Host) -> None:
    host("http", "add", "shop", "http://10.0.0.5:3000")
    added = host("http", "add", "shop", "http://10.0.0.6:3000", "--path", "/api")
    assert added.output == "shop.apps.example.com/api → http://10.0.0.6:3000: active\n"
    assert list(host.server.bodies())[-1]["path"] == "/api"
    assert [line.split()[0] for line in host("routes").output.splitlines()] == [
        "DOMAIN",
        "shop.apps.example.com",
        "shop.apps.example.com/api",
    ]
    assert host("remove", "shop", "--path", "/api").exit_code == 0
    assert list(host.server.routes) == ["http/shop"]
    assert host("remove", "--mongodb", "--path", "/api").exit_code == 2


def test_mongodb_add_tells_how_to_connect(host: Host) -> None:
    result = host("mongodb", "add")
    assert "mongodb://a1.mongodb.example.com:27017/?tls=true" in result.output


def test_remove_takes_a_subdomain_or_the_mongodb_route(host: Host) -> None:
    host("http", "add", "shop", "10.0.0.5")
    host("mongodb", "add")
    assert host("remove", "shop").output == "gone\n"
    assert host("remove", "--mongodb").exit_code == 0
    assert host.server.routes == {}
    assert host("remove").exit_code == 2
    assert host("remove", "shop", "--mongodb").exit_code == 2


def test_pending_is_fine_unless_waited_for(host: Host) -> None:
    host.server.status = "pending"
    result = host("http", "add", "shop", "10.0.0.5")
    assert (result.exit_code, "pending" in result.output) == (0, True)
    result = host("http", "add", "shop", "10.0.0.5", "--wait", "0")
    assert result.exit_code == 3
    assert "still pending" in result.stderr


def test_wait_ends_with_the_active_route(host: Host) -> None:
    host.server.status = "pending"
    stored = host.server.answer
    host.server.answer = lambda r: (  # type: ignore[method-assign]
        stored(r) if r.method == "POST" else _active(host, stored, r)
    )
    result = host("http", "add", "shop", "10.0.0.5", "--wait", "60")
    assert (result.exit_code, "active" in result.output) == (0, True)


def _active(host: Host, answer: Any, request: httpx.Request) -> httpx.Response:
    host.server.status = "active"
    response: httpx.Response = answer(request)
    return response


def test_a_failed_route_is_an_error_with_haproxys_reason(host: Host) -> None:
    host.server.status = "failed"
    result = host("http", "add", "shop", "10.0.0.5")
    assert result.exit_code == 1
    assert "HAProxy refuses it" in result.stderr


# -- failures -----------------------------------------------------------------------------------


def test_a_refusal_exits_1_with_one_line(host: Host) -> None:
    host("routes")
    host.server.script = [problem(409, "the subdomain shop is taken", hint="choose another")]
    result = host("http", "add", "shop", "10.0.0.5")
    assert result.exit_code == 1
    assert result.stderr == "error: the subdomain shop is taken (choose another)\n"
    assert result.stdout == ""


def test_with_json_a_failure_is_a_document_too(host: Host) -> None:
    host("routes")
    host.server.script = [problem(422, "bad", errors=[{"field": "subdomain", "message": "x"}])]
    result = host("http", "add", "shop", "10.0.0.5", "--json")
    told = json.loads(result.stdout)
    assert (told["success"], told["status"]) == (False, 422)
    assert told["problem"]["errors"][0]["field"] == "subdomain"


def test_a_server_that_is_down_exits_3_after_retries(host: Host) -> None:
    host.server.script = [httpx.ConnectError("Connection refused")] * 5
    result = host("routes", "--json")
    assert result.exit_code == 3
    assert len(host.slept) == 4
    assert "hint" in json.loads(result.stdout)


def test_something_else_that_answers_exits_3(host: Host) -> None:
    host.server.script = [httpx.Response(200, text="<html>")]
    assert host("routes").exit_code == 3


def test_a_bad_agent_id_exits_2(host: Host) -> None:
    assert host("routes", "--agent-id", "not a label").exit_code == 2


def test_a_local_problem_exits_4(host: Host, tmp_path: Path) -> None:
    (tmp_path / "ssl").write_text("a file in the way")
    result = host("certs", "fetch")
    assert result.exit_code == 2  # click sees this one itself
    result = host("certs", "fetch", "--dir", str(tmp_path / "ssl" / "below"))
    assert result.exit_code == 4
    assert "can't write" in result.stderr


def test_an_unknown_owner_exits_4(host: Host) -> None:
    assert host("certs", "fetch", "--owner", "nobody-of-that-name").exit_code == 4


# -- certificates -------------------------------------------------------------------------------


def test_certs_fetch_tells_what_it_wrote(host: Host, tmp_path: Path) -> None:
    told = host.json("certs", "fetch")
    assert told["changed"] == ["ca.crt", "mongodb.pem", "server.key", "server.crt"]
    assert told["serial"] == f"{serial(host.server.cert):x}"
    assert told["domain"] == DOMAIN
    assert "nothing to change" in host("certs", "fetch").output
    assert (tmp_path / "ssl" / "server.key").read_text() == host.server.key


def test_certs_fetch_csr_stays_with_its_own_key(host: Host, tmp_path: Path) -> None:
    first = host.json("certs", "fetch", "--csr")
    assert host.json("renew")["serial"] == first["serial"]
    assert host.json("certs", "fetch", "--force", "--key-type", "rsa")["serial"] != first["serial"]
    assert host.server.calls.count("POST /api/certificates/agent/a1/csr") == 2
    host.server.serves_key = True
    host.server.renew()
    host("certs", "fetch", "--no-csr")
    assert (tmp_path / "ssl" / "server.key").read_text() == host.server.key


def test_a_certificate_of_another_ca_exits_4_and_changes_nothing(
    host: Host, tmp_path: Path
) -> None:
    host("certs", "fetch")
    before = (tmp_path / "ssl" / "mongodb.pem").read_text()
    host.server.ca = Authority().pem
    result = host("renew", "--rotate", "mongodb://x")
    assert result.exit_code == 4
    assert "wasn't issued by the CA" in result.stderr
    assert (tmp_path / "ssl" / "mongodb.pem").read_text() == before
    assert host.rotations == []


def test_renew_rotates_mongod_only_when_something_is_new(host: Host) -> None:
    assert "mongod loaded it" in host("renew", "--rotate", "mongodb://x").output
    assert not host.json("renew", "--rotate", "mongodb://x")["rotated"]
    host.server.renew()
    assert host.json("renew", "--rotate", "mongodb://x")["rotated"]
    assert host.rotations == ["mongodb://x"] * 2


def test_renew_without_rotate_leaves_mongod_alone(host: Host) -> None:
    assert "mongod" not in host("renew").output.replace("mongodb", "")


# -- mongod configure ---------------------------------------------------------------------------


def test_mongod_configure_merges_and_says_what_to_restart(host: Host, tmp_path: Path) -> None:
    config = tmp_path / "mongod.conf"
    config.write_text("# ours\nnet:\n  port: 27017\n")
    host("certs", "fetch")
    args = ("mongod", "configure", "--config", str(config), "--check-with", "none")
    result = host(*args)
    assert result.exit_code == 0, result.output
    assert "systemctl restart mongod" in result.output
    assert "not tried with mongod" in result.output
    assert "loopback only" in result.output
    assert f"CAFile: {tmp_path}/ssl/ca.crt" in config.read_text()
    assert config.read_text().startswith("# ours\n")
    assert "configured already" in host(*args).output
    told = host.json(*args)
    assert (told["changed"], told["restart"], told["tried"]) == (False, False, None)


def test_mongod_configure_without_certificates_says_to_fetch_them(
    host: Host, tmp_path: Path
) -> None:
    config = tmp_path / "mongod.conf"
    config.write_text("net: {}\n")
    result = host("mongod", "configure", "--config", str(config), "--check-with", "none")
    assert result.exit_code == 4
    assert "certs fetch" in result.stderr
    assert config.read_text() == "net: {}\n"


# -- the loop -----------------------------------------------------------------------------------


def test_run_once_is_one_round(host: Host) -> None:
    result = host("run", "--once", "--rotate", "mongodb://x")
    assert result.exit_code == 0
    assert host.pauses == []
    assert host.rotations == ["mongodb://x"]


def test_run_once_reports_by_its_exit_code(host: Host) -> None:
    host.server.script = [httpx.ConnectError("refused")] * 5
    assert host("run", "--once").exit_code == 3
    host.mongod_down = True
    assert host("run", "--once", "--rotate", "mongodb://x").exit_code == 4


def test_run_renews_token_and_certificate_in_time(host: Host, tmp_path: Path) -> None:
    host.server.token_seconds = 1800
    host.wakes = [Wake.TIME, Wake.TIME, Wake.STOP]
    rounds = iter(range(9))
    config = host.server.config

    def renewing() -> dict[str, Any]:
        if next(rounds) == 1:
            host.server.renew()
        return config()

    host.server.config = renewing  # type: ignore[method-assign]
    result = host("run", "--rotate", "mongodb://x")
    assert result.exit_code == 0
    # A token of half an hour is renewed after twenty minutes, and then some.
    assert all(1200 <= pause <= 1260 for pause in host.pauses)
    assert len(host.server.tokens) == 3
    assert len(host.rotations) == 2
    assert (tmp_path / "ssl" / "server.crt").read_text() == host.server.cert
    assert result.output.endswith("stopped\n")


def test_run_survives_the_server_and_mongod_being_down(host: Host) -> None:
    host.server.script = [httpx.ConnectError("refused"), httpx.Response(502)]
    host.mongod_down = True
    host.wakes = [Wake.TIME, Wake.TIME, Wake.NOW, Wake.STOP]
    args = ["run", "--rotate", "mongodb://x"]
    result = host(*args)
    assert result.exit_code == 0
    assert "refused" in result.stderr
    assert result.stderr.count("mongod is down") == 2
    first, second, third, fourth = host.pauses
    assert first <= 5 < 2 * second <= 20 < 4 * third <= 80 < 8 * fourth <= 320
    assert host.slept == []


def test_run_reports_json_lines(host: Host) -> None:
    host.server.script = [httpx.ConnectError("refused")]
    host.wakes = [Wake.TIME, Wake.STOP]
    failed, done, stopped = map(json.loads, host("run", "--json").stdout.splitlines())
    assert failed["nextTry"] <= 5
    assert done["changed"]
    assert stopped == {"success": True, "stopped": True}


# -- the real process -----------------------------------------------------------------------------


def line(stream: Any, limit: float = 30) -> str:
    """The next line of a pipe, or an error after the limit."""
    ready, _, _ = select.select([stream], [], [], limit)
    assert ready, "the program says nothing"
    return str(os.read(stream.fileno(), 65536).decode())


def test_signals_renew_and_stop_the_real_program(host: Host) -> None:
    host.server = FrontServer(Authority(datetime.now(tz=NOW.tzinfo)))
    host.server.clock = lambda: datetime.now(tz=NOW.tzinfo)
    with listening(host.server) as url:
        environment = {**os.environ, **host.environment, "FRONTSERVER_URL": url}
        command = [sys.executable, "-m", "frontserver.agent", "run"]
        program = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )
        try:
            assert "wrote ca.crt" in line(program.stdout)
            host.server.renew()
            program.send_signal(signal.SIGHUP)
            assert "wrote mongodb.pem" in line(program.stdout)
            program.send_signal(signal.SIGTERM)
            assert line(program.stdout) == "stopped\n"
            assert program.wait(30) == 0
        finally:
            program.kill()
            program.communicate()
