"""Profiles on a throwaway HAProxy: good ones pass, those that end workers are found."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from frontserver.errors import ConfigRejectedError, ProxyError
from frontserver.haproxy import binary, procfs
from frontserver.haproxy.canary import Canary, Verdict, Verdicts
from frontserver.planning.capabilities import Capabilities
from frontserver.planning.compile import HTTP_PROFILE, STANDARD_PROFILES
from frontserver.planning.compiled import Profile
from frontserver.rendering.redlist import check_red_list
from tests.unit.haproxy.trying import texts

CHECKED = Profile(mode="http", check="connect")
PROBED = Profile(mode="http", check="http", check_expect="200-399")
EVERYTHING = Profile(
    mode="http",
    balance="uri",
    cookie="C",
    connect_ms=2000,
    queue_ms=2000,
    check="http",
    check_expect="200",
    check_timeout_ms=1000,
    rewrite_host=True,
    set_request=("x-a", "x-b"),
    remove_request=("x-c",),
    set_response=("x-a",),
    remove_response=("server",),
)
CACHE = "cache store\n    total-max-size 4\n    max-age 60\n"
ONLY_CHECKED = "{{% if profile.check != 'none' %}}\n    {}\n{{% endif %}}\n"


@pytest.fixture
def kept(place: Path) -> File:
    """Where verdicts are kept."""
    return File(place / "state" / "verdicts.json")


@pytest.fixture
def canary(program: Path, kept: File) -> Canary:
    return Canary(program, Verdicts(kept.path))


@pytest.fixture
async def dynamic(program: Path) -> bool:
    """Whether this HAProxy makes backends at run time."""
    return Capabilities.from_version(await binary.version(program)).dynamic_backends


class File:
    """A file, looked at from asynchronous tests."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def exists(self) -> bool:
        return self.path.exists()

    @property
    def content(self) -> bytes:
        return self.path.read_bytes()

    @property
    def stamp(self) -> int:
        return self.path.stat().st_mtime_ns

    def write(self, text: str) -> None:
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_text(text)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No process and no file outlives a trial."""
    yield
    left = Path(tempfile.gettempdir()).glob(f"frontserver-throwaway-{os.getpid()}-*")
    assert [(path, procfs.local_peer(path.name)) for path in left] == []


async def test_ordinary_profiles_pass_together(canary: Canary, dynamic: bool) -> None:
    profiles = [*STANDARD_PROFILES, EVERYTHING]
    found = await canary.try_profiles(texts(profiles), profiles, dynamic=dynamic)
    passed = Verdict(ok=True, dynamic_ok=True if dynamic else None)
    assert found == {profile.id: passed for profile in profiles}


async def test_every_structure_that_a_route_can_ask_for_passes(
    canary: Canary, dynamic: bool
) -> None:
    """Also with a health check that always fails: that is the route's affair."""
    checks = [("none", None), ("connect", None), ("http", "200-399"), ("http", "599")]
    profiles = [
        Profile(mode="http", balance=balance, cookie=cookie, check=kind, check_expect=expect)
        for balance in ("source", "uri", "roundrobin", "leastconn", "first", "random")
        for cookie in (None, "C")
        for kind, expect in checks
    ]
    found = await canary.try_profiles(texts(profiles), profiles, dynamic=dynamic)
    assert len(found) == len(profiles)
    assert set(found.values()) == {Verdict(ok=True, dynamic_ok=True if dynamic else None)}


async def test_what_an_operator_may_add_passes(canary: Canary, dynamic: bool) -> None:
    """Rules of their own, what these refer to, and what only the real process may have."""
    written = texts(
        [HTTP_PROFILE],
        in_global=(
            "    chroot /var/empty\n    user nobody\n    pidfile /nowhere/pid\n    nbthread 1\n"
            "    log /nowhere/log local0\n    stats socket /nowhere/other.sock\n    localpeer me\n"
            "    maxconn 1000000\n    tune.bufsize 32768"
        ),
        sections=(
            "userlist staff\n    user a insecure-password b\n"
            "peers others\n    bind 127.0.0.1:1\n    server me\n"
            "backend rates\n    stick-table type string size 1k expire 1m store http_req_rate(1m)"
            " peers others\n    server x /nowhere/origin.sock check\n"
            "listen status\n    mode http\n    bind /nowhere/status.sock\n    stats enable\n"
        ),
        in_profile=(
            "    http-request track-sc1 be_name table rates\n"
            "    http-request auth unless { http_auth(staff) }\n"
        ),
    )
    found = await canary.try_profiles(written, [HTTP_PROFILE], dynamic=dynamic)
    assert found[HTTP_PROFILE.id].ok, found
    assert found[HTTP_PROFILE.id].dynamic_ok is not False, found


async def test_rules_that_turn_the_canary_away_are_no_failure(canary: Canary) -> None:
    profiles = [HTTP_PROFILE, Profile(mode="tcp")]
    written = texts(
        profiles,
        in_profile=(
            "{% if profile.mode == 'http' %}\n"
            "    http-request silent-drop unless { src 10.1.1.1 }\n{% else %}\n"
            "    tcp-request content reject unless { src 10.1.1.1 }\n{% endif %}\n"
        ),
    )
    found = await canary.try_profiles(written, profiles)
    assert {verdict.ok for verdict in found.values()} == {True}


@pytest.mark.parametrize("profile", [HTTP_PROFILE, PROBED], ids=["plain", "checked"])
async def test_cache_rules_in_a_profile_are_found(canary: Canary, profile: Profile) -> None:
    """Red list R2, on every version: at the first request."""
    written = texts([profile], sections=CACHE, in_profile="    http-request cache-use store\n")
    with pytest.raises(ConfigRejectedError, match="cache-use"):
        check_red_list(written)
    verdict = (await canary.try_profiles(written, [profile]))[profile.id]
    assert (verdict.ok, verdict.final) == (False, True)
    # Some crash at once; some hang, until their own watchdog or the canary ends them.
    assert (verdict.reason or "").startswith(
        ("a request: HAProxy ended with SIG", "a request: HAProxy computes and doesn't answer")
    )


@pytest.mark.parametrize("line", ["errorfiles pages", "http-error status 500 errorfiles pages"])
async def test_error_pages_that_end_the_worker_with_dynamic_backends_are_found(
    canary: Canary, dynamic: bool, place: Path, line: str
) -> None:
    """Red list R1: at `add backend` on 3.4; static slots may have them everywhere."""
    page = place / "500.http"
    File(page).write("HTTP/1.0 500 Oops\r\n\r\n")
    written = texts(
        [HTTP_PROFILE, PROBED],
        sections=f"http-errors pages\n    errorfile 500 {page}\n",
        in_profile=f"{{% if profile.check == 'none' %}}\n    {line}\n{{% endif %}}\n",
    )
    with pytest.raises(ConfigRejectedError, match="errorfiles"):
        check_red_list(written)
    found = await canary.try_profiles(written, [HTTP_PROFILE, PROBED], dynamic=dynamic)
    assert found[PROBED.id] == Verdict(ok=True, dynamic_ok=True if dynamic else None)
    assert found[HTTP_PROFILE.id].ok
    if dynamic:
        assert not found[HTTP_PROFILE.id].dynamic_ok
        reason = found[HTTP_PROFILE.id].dynamic_reason or ""
        assert reason.startswith(f"add backend {HTTP_PROFILE.id}.2 from {HTTP_PROFILE.id}: HAProxy")
        assert "SIGSEGV" in reason


async def test_error_pages_are_found_in_what_profiles_derive_from(
    canary: Canary, dynamic: bool, place: Path
) -> None:
    """Red list R1, one section higher."""
    page = place / "500.http"
    File(page).write("HTTP/1.0 500 Oops\r\n\r\n")
    written = texts(
        [HTTP_PROFILE],
        in_global=f"http-errors pages\n    errorfile 500 {page}",
        in_defaults="    errorfiles pages\n",
    )
    found = await canary.try_profiles(written, [HTTP_PROFILE], dynamic=dynamic)
    assert found[HTTP_PROFILE.id].ok
    assert found[HTTP_PROFILE.id].dynamic_ok is (False if dynamic else None)


async def test_external_checks_are_found(canary: Canary) -> None:
    """Red list R3, on every version: a dynamic server's first external check."""
    profiles = [HTTP_PROFILE, CHECKED, PROBED, Profile(mode="tcp", check="connect")]
    written = texts(
        profiles,
        in_global="    external-check\n    insecure-fork-wanted",
        in_profile=ONLY_CHECKED.format(
            "option external-check\n    external-check command /bin/true"
        ),
    )
    with pytest.raises(ConfigRejectedError, match="external-check"):
        check_red_list(written)
    found = await canary.try_profiles(written, profiles)
    assert [found[profile.id].ok for profile in profiles] == [True, False, False, False]
    for profile in profiles[1:]:
        assert "HAProxy ended with SIG" in (found[profile.id].reason or "")


async def test_what_only_takes_too_long_is_refused_but_may_be_tried_again(
    program: Path, kept: File
) -> None:
    patient = "http-request tarpit if TRUE\n    timeout tarpit 30s"
    written = texts([HTTP_PROFILE], in_profile=f"    {patient}\n")
    found = await Canary(program, Verdicts(kept.path)).try_profiles(written, [HTTP_PROFILE])
    reason = "a request: no answer within 2.0 s"
    assert found == {HTTP_PROFILE.id: Verdict(ok=False, reason=reason, final=False)}
    hasty = Canary(program, Verdicts(kept.path), seconds=0.0)
    found = await hasty.try_profiles(written, [HTTP_PROFILE])
    assert [(one.ok, one.final) for one in found.values()] == [(False, False)]
    assert not kept.exists


async def test_a_refused_command_is_the_profiles_own_failure(canary: Canary) -> None:
    """Dynamic servers need an algorithm that takes them: `static-rr` doesn't."""
    static = Profile(mode="http", balance="static-rr")
    found = await canary.try_profiles(texts([static, PROBED]), [static, PROBED])
    assert found[PROBED.id].ok
    assert not found[static.id].ok
    assert (found[static.id].reason or "").startswith(f"add server {static.id}.0/")


async def test_a_profile_that_haproxy_does_not_even_load_is_told_from_a_broken_rest(
    canary: Canary, kept: File
) -> None:
    profiles = [HTTP_PROFILE, PROBED]
    broken = "{% if profile.check == 'http' %}\n    nonsense\n{% endif %}\n"
    found = await canary.try_profiles(texts(profiles, in_profile=broken), profiles)
    assert found[HTTP_PROFILE.id].ok
    assert "unknown keyword 'nonsense'" in (found[PROBED.id].reason or "")
    before = kept.content
    with pytest.raises(ConfigRejectedError, match="unknown keyword 'nonsense'"):
        await canary.try_profiles(texts(profiles, sections="userlist u\n    nonsense\n"), profiles)
    assert kept.content == before


async def test_verdicts_outlive_a_restart_and_cost_nothing(
    program: Path, canary: Canary, kept: File
) -> None:
    profiles = [HTTP_PROFILE, PROBED]
    found = await canary.try_profiles(texts(profiles), profiles)
    before = kept.stamp
    again = Canary(program, Verdicts(kept.path))
    # Another generation, other ports and sockets: nothing that a profile depends on.
    later = texts([*profiles, EVERYTHING], generation="000099")
    assert await again.try_profiles(later, profiles) == found
    assert kept.stamp == before
    assert (
        await again.try_profiles(texts(profiles, in_profile="    retries 1\n"), profiles) == found
    )
    assert kept.stamp > before


async def test_dynamic_backends_are_tried_when_they_are_asked_for_first(
    canary: Canary, dynamic: bool
) -> None:
    if not dynamic:
        pytest.skip("this HAProxy makes no backends at run time")
    written = texts([HTTP_PROFILE])
    assert await canary.try_profiles(written, [HTTP_PROFILE]) == {HTTP_PROFILE.id: Verdict(ok=True)}
    whole = {HTTP_PROFILE.id: Verdict(ok=True, dynamic_ok=True)}
    assert await canary.try_profiles(written, [HTTP_PROFILE], dynamic=True) == whole
    assert await canary.try_profiles(written, [HTTP_PROFILE]) == whole


@pytest.mark.parametrize("damage", ["", "{", '{"verdicts": 3}', '{"verdicts": {"a": {}}}', "\0"])
async def test_a_damaged_file_is_as_good_as_none(canary: Canary, kept: File, damage: str) -> None:
    kept.write(damage)
    found = await canary.try_profiles(texts([HTTP_PROFILE]), [HTTP_PROFILE])
    assert found == {HTTP_PROFILE.id: Verdict(ok=True)}
    assert b'"ok":true' in kept.content


async def test_verdicts_that_cannot_be_kept_are_given_all_the_same(
    program: Path, place: Path
) -> None:
    File(place / "state").write("a file where the directory should be")
    canary = Canary(program, Verdicts(place / "state" / "verdicts.json"))
    found = await canary.try_profiles(texts([HTTP_PROFILE]), [HTTP_PROFILE])
    assert found == {HTTP_PROFILE.id: Verdict(ok=True)}


async def test_without_a_program_nothing_is_said_of_profiles(place: Path) -> None:
    canary = Canary(place / "none", Verdicts(place / "verdicts.json"))
    with pytest.raises(ProxyError, match="can't be run"):
        await canary.try_profiles(texts([HTTP_PROFILE]), [HTTP_PROFILE])
