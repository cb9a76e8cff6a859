"""Settings: every one is read, every bad one is named, all at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from frontserver import settings
from frontserver.errors import SettingsError
from frontserver.model.targets import HostPort, TargetPolicy
from frontserver.settings import Settings, load


def read(**variables: str) -> Settings:
    return load({f"FRONTSERVER_{name.upper()}": value for name, value in variables.items()})


def problems_of(config: Path | None = None, **variables: str) -> list[str]:
    environ = {f"FRONTSERVER_{name.upper()}": value for name, value in variables.items()}
    with pytest.raises(SettingsError) as refusal:
        load(environ, config=config)
    return refusal.value.problems


def test_every_setting_has_a_parser_and_the_other_way_round() -> None:
    assert set(Settings.__struct_fields__) == set(settings._PARSERS)


def test_the_defaults_are_those_that_are_documented() -> None:
    found = load({})
    assert str(found.listen) == "127.0.0.1:8080"
    assert found.backend == "dataplane"
    assert found.enrolment == "invite"
    assert found.haproxy == "embedded"
    assert found.target_policy.private
    assert not found.target_policy.loopback
    assert found.key_type == "rsa"
    assert found.hard_stop_after is None


def test_the_process_environment_is_read_when_none_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FRONTSERVER_APP_DOMAIN", "Apps.Example.org")
    assert load().app_domain == "apps.example.org"


def test_paths_follow_the_state_directory(tmp_path: Path) -> None:
    found = read(state_dir=str(tmp_path))
    assert found.database_url == f"sqlite:///{tmp_path}/state.sqlite3"
    assert found.runtime_socket == tmp_path / "run" / "runtime.sock"
    assert found.master_socket == tmp_path / "run" / "master.sock"
    assert found.config_dir == tmp_path / "haproxy"
    assert found.master_key_file == tmp_path / "master.key"


def test_paths_that_are_given_stay(tmp_path: Path) -> None:
    found = read(
        state_dir=str(tmp_path),
        database_url="postgresql+asyncpg://db/frontserver",
        runtime_socket="/run/h.sock",
        master_key_file="~/key",
    )
    assert found.database_url == "postgresql+asyncpg://db/frontserver"
    assert found.runtime_socket == Path("/run/h.sock")
    assert found.master_key_file == Path.home() / "key"


def test_other_variables_and_empty_ones_are_ignored() -> None:
    assert load({"PATH": "/bin", "FRONTSERVER_BACKEND": ""}) == load({})


def test_an_unknown_setting_is_named() -> None:
    assert problems_of(backnd="file") == [
        "FRONTSERVER_BACKND: no such setting; see docs/settings.md"
    ]


def test_all_bad_values_are_told_at_once() -> None:
    found = problems_of(backend="nginx", listen="nowhere", mongo_public_port="0", enrolment="x")
    assert [line.split(":")[0] for line in found] == [
        "FRONTSERVER_BACKEND",
        "FRONTSERVER_LISTEN",
        "FRONTSERVER_MONGO_PUBLIC_PORT",
        "FRONTSERVER_ENROLMENT",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.0.0.0:80", ["0.0.0.0:80"]),
        ("*:80", ["0.0.0.0:80"]),
        (":80", ["0.0.0.0:80"]),
        ("[::]:80, 127.0.0.1:81", ["[::]:80", "127.0.0.1:81"]),
        ("off", []),
        ("None", []),
    ],
)
def test_binds_are_lists_of_address_and_port(text: str, expected: list[str]) -> None:
    assert [str(bind) for bind in read(http_bind=text).http_bind] == expected


def test_the_api_may_listen_on_localhost() -> None:
    assert read(listen="localhost:9000").listen == HostPort("127.0.0.1", 9000)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("http_bind", "80", "not HOST:PORT"),
        ("http_bind", "0.0.0.0:http", "not HOST:PORT"),
        ("http_bind", "0.0.0.0:80,", "not HOST:PORT"),
        ("http_bind", "0.0.0.0:0", "1 to 65535"),
        ("http_bind", "host.example.com:80", "IP address to listen on"),
        ("listen", "0.0.0.0:99999", "1 to 65535"),
        ("mongo_public_port", "65536", "not a TCP port"),
        ("mongo_public_port", "²", "not a TCP port|invalid literal"),
        ("app_domain", "a b", "not a host name"),
        ("mongo_domain", "127.1", "neither an address"),
        ("https_certificate", "/nowhere/cert.pem", "is no file"),
        ("haproxy_bin", "/nowhere/haproxy", "not an executable"),
        ("haproxy_bin", "/", "not an executable"),
        ("template_dir", "/nowhere", "not a directory"),
        ("admin_token", "short", "at least 16"),
        ("target_policy", "everything", "neither public, private"),
        ("target_policy", "10.0.0.1/8", "neither public, private"),
        ("trusted_proxies", "10.0.0.1/8", "host bits"),
        ("installation", "x" * 65, "1 to 64 printable"),
        ("installation", "a\nb", "1 to 64 printable"),
        ("key_type", "dsa", "rsa, ec"),
        ("profiles_per_agent", "-1", "0 to 10000"),
        ("profiles_per_agent", "²", "0 to 10000"),
        ("profiles_per_agent", "10001", "0 to 10000"),
        ("log_level", "loud", "debug, info"),
        ("hard_stop_after", "soon", "not a time"),
        ("hard_stop_after", "10", "not a time"),
        ("hard_stop_after", "10ms", "not a time"),
        ("hard_stop_after", "1²s", "not a time"),
        ("hard_stop_after", "1s\nx", "not a time"),
        ("runtime_socket", "/" + "x" * 100, "longer than a socket path"),
        ("mongo_domain", "apps.example.com", "must differ"),
        ("https_bind", "0.0.0.0:80", "named for two listeners"),
        ("backend", "nginx", "dataplane, file, memory"),
        ("dataplane_url", "127.0.0.1:5555", "not a URL such as http://127.0.0.1:5555"),
        ("dataplane_url", "ftp://127.0.0.1", "not a URL such as"),
        ("dataplane_url", "http://", "not a URL such as"),
        ("dataplane_url", "http://proxy:5555/?a=b", "not a URL such as"),
        ("dataplane_url", "http://proxy:555555", "Port out of range"),
        ("dataplane_url", "http://proxy:0", "1 to 65535"),
        ("dataplane_url", "http://me:secret@proxy:5555", "settings of their own"),
        ("dataplane_file", "both", "own, shared"),
        ("dataplane_ca", "/nowhere/ca.pem", "not a file that can be read"),
        ("dataplane_certificate", "/nowhere/me.pem", "not a file that can be read"),
        ("dataplane_key", "/bin/sh", "set FRONTSERVER_DATAPLANE_CERTIFICATE too"),
    ],
)
def test_a_bad_value_is_told_with_its_reason(name: str, text: str, reason: str) -> None:
    (problem,) = problems_of(**{name: text})
    assert problem.startswith("FRONTSERVER_")
    with pytest.raises(SettingsError, match=reason):
        read(**{name: text})


def test_a_secret_that_is_too_short_is_not_repeated() -> None:
    assert "hunter2" not in str(problems_of(admin_token="hunter2"))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("enrolment", "open", "open"),
        ("admin_token", "0123456789abcdef", "0123456789abcdef"),
        ("trusted_proxies", "10.0.0.0/8, 192.0.2.1", ("10.0.0.0/8", "192.0.2.1/32")),
        ("hard_stop_after", "12h", "12h"),
        ("reserved_subdomains", " Status, api ,", frozenset({"status", "api"})),
        ("profiles_per_agent", "0", 0),
        ("installation", "Ünser Haus", "Ünser Haus"),
        ("haproxy_bin", "/bin/sh", Path("/bin/sh")),
        ("template_dir", "/", Path("/")),
        (
            "dataplane_url",
            " https://proxy.example.com:5555/v3/ ",
            "https://proxy.example.com:5555/v3",
        ),
        ("dataplane_url", "http://[::1]:5555", "http://[::1]:5555"),
        ("dataplane_user", "frontserver", "frontserver"),
        ("dataplane_password", "p:a ss", "p:a ss"),
        ("dataplane_certificate", "/bin/sh", Path("/bin/sh")),
        ("dataplane_file", "shared", "shared"),
    ],
)
def test_a_good_value_is_read(name: str, text: str, expected: Any) -> None:
    assert getattr(read(**{name: text}), name) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("public", TargetPolicy(private=False)),
        ("private", TargetPolicy()),
        ("allow-loopback", TargetPolicy(loopback=True)),
        ("10.0.0.0/8, fd00::/8", TargetPolicy(networks=("10.0.0.0/8", "fd00::/8"))),
    ],
)
def test_the_target_policy_has_names_or_is_a_list(text: str, expected: TargetPolicy) -> None:
    found = read(target_policy=text).target_policy
    bare = msgspec.structs.replace(found, own_addresses=frozenset(), own_ports=frozenset())
    assert bare == expected


def test_the_policy_knows_the_front_servers_own_listeners() -> None:
    policy = read(
        listen="127.0.0.1:8080",
        http_bind="192.0.2.1:80",
        https_bind="off",
        mongo_bind="192.0.2.9:27017,0.0.0.0:27018",
    ).target_policy
    assert policy.own_ports == {8080, 80, 27017, 27018}
    assert policy.own_addresses == {"127.0.0.1", "192.0.2.1", "192.0.2.9"}


def test_connection_strings_name_the_public_port_or_the_binds() -> None:
    assert read(mongo_bind="0.0.0.0:27018").connection_port == 27018
    assert read(mongo_bind="off").connection_port == 27017
    assert read(mongo_bind="0.0.0.0:27018", mongo_public_port="443").connection_port == 443


def test_a_certificate_file_that_exists_is_good(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").touch()
    found = read(https_certificate=str(tmp_path / "cert.pem"))
    assert found.https_certificate == tmp_path / "cert.pem"


# -- the TOML file ----------------------------------------------------------------------------


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "frontserver.toml"


def test_a_file_has_the_same_settings_in_lower_case(toml: Path) -> None:
    toml.write_text(
        'backend = "file"\nmongo_public_port = 443\nhttp_bind = ["0.0.0.0:81", "[::]:81"]\n'
        'installation = "Ünser Haus"\ndatabase_url = ""\n',
        encoding="utf-8",
    )
    found = load({}, config=toml)
    assert found.backend == "file"
    assert found.mongo_public_port == 443
    assert [str(bind) for bind in found.http_bind] == ["0.0.0.0:81", "[::]:81"]
    assert found.installation == "Ünser Haus"
    assert found.database_url.startswith("sqlite")


def test_the_environment_wins_over_the_file(toml: Path) -> None:
    toml.write_text('backend = "file"\nenrolment = "open"\n')
    found = load({"FRONTSERVER_BACKEND": "memory"}, config=toml)
    assert (found.backend, found.enrolment) == ("memory", "open")


def test_problems_of_file_and_environment_come_together(toml: Path) -> None:
    toml.write_text('bakend = "file"\nlog_level = "loud"\n[listen]\nport = 1\n')
    found = problems_of(toml, key_type="dsa")
    assert len(found) == 4
    assert found[0] == f"{toml}: unknown setting 'bakend'"
    assert found[1] == f"{toml}: listen is a table, and must be a value"
    assert {line.split(":")[0] for line in found[2:]} == {
        "FRONTSERVER_LOG_LEVEL",
        "FRONTSERVER_KEY_TYPE",
    }


@pytest.mark.parametrize("content", [b"backend = ", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_named(toml: Path, content: bytes) -> None:
    toml.write_bytes(content)
    (problem,) = problems_of(toml)
    assert problem.startswith(f"{toml}: ")


def test_a_missing_file_is_named(toml: Path) -> None:
    (problem,) = problems_of(toml)
    assert "No such file" in problem


@pytest.mark.parametrize(
    ("text", "on"), [("on", True), ("off", False), ("ON", True), ("true", True), ("False", False)]
)
def test_a_switch_is_on_or_off(text: str, on: bool) -> None:
    assert load({"FRONTSERVER_METRICS": text}).metrics is on


def test_a_switch_of_a_file_is_a_toml_boolean(toml: Path) -> None:
    toml.write_text("metrics = false\n")
    assert load({}, config=toml).metrics is False


def test_profiles_for_agents_are_a_list_of_names() -> None:
    found = load({"FRONTSERVER_ROUTE_PROFILES": "gold, internal"}).route_profiles
    assert found == frozenset({"gold", "internal"})
    (problem,) = problems_of(route_profiles="gold,../../etc")
    assert problem.startswith("FRONTSERVER_ROUTE_PROFILES: ")


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        (
            {"HTTP": "www"},
            "set FRONTSERVER_BACKEND=dataplane and FRONTSERVER_DATAPLANE_FILE=shared",
        ),
        ({"HTTP": "www", "MONGODB": "www", "FILE": "shared"}, "www is named twice"),
        ({"HTTP": "a b", "FILE": "shared"}, "'a b' is not the name of a frontend"),
        ({"MONGODB": "fs_in_http", "FILE": "shared"}, "begins with fs_"),
    ],
)
def test_frontends_that_cannot_be_adopted_are_refused(environ: dict[str, str], says: str) -> None:
    given = {
        f"FRONTSERVER_DATAPLANE_{name}" + ("_FRONTENDS" if name != "FILE" else ""): value
        for name, value in environ.items()
    }
    with pytest.raises(SettingsError, match=re.escape(says)):
        load(given)


def test_frontends_to_adopt_are_named_once_each() -> None:
    settings = load(
        {
            "FRONTSERVER_DATAPLANE_FILE": "shared",
            "FRONTSERVER_DATAPLANE_HTTP_FRONTENDS": "www, tls,www",
        }
    )
    assert settings.dataplane_http_frontends == ("www", "tls")
