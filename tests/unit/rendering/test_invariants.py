"""What must hold of a configuration before HAProxy sees it: the red list's walls."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from frontserver.errors import ConfigRejectedError
from frontserver.model.routes import Balance
from frontserver.planning.compile import STANDARD_PROFILES
from frontserver.planning.compiled import CompiledConfig, Profile
from frontserver.planning.layout import PoolPolicy
from frontserver.rendering.invariants import check_invariants, check_reloadable
from frontserver.rendering.lines import split, words
from frontserver.rendering.render import GLOBAL, PROFILES, Renderer
from frontserver.rendering.templates import Templates
from tests.unit.planning.routes import FRONTENDS, config, http, mongo
from tests.unit.rendering.samples import rendered

P = "p0123456789ab"
GOOD = "frontend f\n    bind :80\n"


def refusal(**files: str) -> ConfigRejectedError:
    """The refusal of files, `.cfg` each, beside one that is good."""
    texts = {"good.cfg": GOOD} | {f"{name}.cfg": text for name, text in files.items()}
    with pytest.raises(ConfigRejectedError) as error:
        check_invariants(texts)
    return error.value


def accepted(**files: str) -> None:
    check_invariants({"good.cfg": GOOD} | {f"{name}.cfg": text for name, text in files.items()})


def test_what_we_render_passes() -> None:
    check_invariants(rendered(config(http(), mongo())))


def test_there_must_be_a_configuration() -> None:
    with pytest.raises(ConfigRejectedError, match="no configuration file"):
        check_invariants({"maps/hosts.map": ""})


@pytest.mark.parametrize("text", ["", "global\n", "frontend f\n    # bind :80\n", "#bind :80\n"])
def test_something_must_listen(text: str) -> None:
    with pytest.raises(ConfigRejectedError, match="no frontend listens"):
        check_invariants({"a.cfg": text})


def test_the_last_line_must_end() -> None:
    error = refusal(a="global\n    maxconn 1")
    assert (error.file, error.line, error.reason) == ("a.cfg", 2, "the last line has no end")
    accepted(a="")


@pytest.mark.parametrize("character", ["\0", "\r", "\x0b", "\x0c", "\x1b", "\x7f", "\x08"])
def test_control_characters_are_refused_in_comments_too(character: str) -> None:
    error = refusal(a=f"# one\n# two{character}\n")
    assert (error.file, error.line, error.reason) == ("a.cfg", 2, "a control character")
    accepted(a="\t# a tab is none\n")


def test_a_line_has_at_most_64_words() -> None:
    accepted(a=" ".join(["w"] * 64) + "\n")
    error = refusal(a="\n" + " ".join(["w"] * 65) + "\n")
    assert (error.file, error.line) == ("a.cfg", 2)
    assert "64 words" in error.reason


def test_words_are_counted_as_haproxy_counts_them() -> None:
    accepted(a=f'return string "{"w " * 99}"\n')
    accepted(a=f"return string '{'w ' * 99}'\n")
    accepted(a="a" + "\\ b" * 99 + "\n")
    accepted(a=f"a # {'w ' * 99}\n")
    assert "64 words" in refusal(a=f"it isn't closed {'w ' * 64}\n").reason


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("  a  b\tc ", ("a", "b", "c")),
        ("a#b c", ("a",)),
        ('a "b # c" d', ("a", "b # c", "d")),
        ("a 'b \\' c", ("a", "b \\", "c")),
        ("a\\ b \\# c", ("a b", "#", "c")),
        ('"open a', ('"open', "a")),
        ("", ()),
    ],
)
def test_lines_split_as_haproxy_splits_them(line: str, expected: tuple[str, ...]) -> None:
    assert words(line) == expected


def test_lines_know_their_section() -> None:
    found = list(split({"b": "in-none\ndefaults d\n  x y # z\n", "a": "global\n"}))
    assert [(line.file, line.number, line.section, line.words) for line in found if line.words] == [
        ("b", 1, (), ("in-none",)),
        ("b", 3, ("defaults", "d"), ("x", "y")),
    ]


def test_a_map_that_is_named_must_be_written() -> None:
    assert "maps/own.map" in refusal(a="use_backend %[str(x),map(maps/own.map)]\n").reason
    accepted(a="use_backend %[str(x),map(/etc/haproxy/maps/own.map)]\n")
    check_invariants({"a.cfg": GOOD + "  x maps/own.map\n", "maps/own.map": ""})


# --- the red list ---

IN_PROFILES = [
    "errorfiles ours",
    "http-error status 503 errorfiles ours",
    "http-request cache-use c",
    "http-response cache-store c",
    "option external-check",
    "capture request header host len 10",
    "declare capture request len 10",
    "http-request capture req.hdr(host) len 10",
    "tcp-request content capture req.len len 10",
    "compression algo gzip",
    "filter compression",
    "filter cache c",
]


@pytest.mark.parametrize("line", IN_PROFILES)
def test_what_ends_workers_is_refused_in_profiles(line: str) -> None:
    error = refusal(a=f"defaults fs_http\n\ndefaults {P} from fs_http\n    mode http\n    {line}\n")
    assert (error.file, error.line) == ("a.cfg", 5)
    assert f"'defaults {P}'" in error.reason
    assert "put it into a frontend" in error.reason


@pytest.mark.parametrize("line", IN_PROFILES)
def test_it_is_refused_in_whatever_profiles_derive_from(line: str) -> None:
    error = refusal(
        a=f"defaults base\n  {line}\ndefaults fs_http from base\n",
        b=f"defaults {P} from fs_http\n  mode http\n",
    )
    assert (error.file, error.line) == ("a.cfg", 2)
    assert "'defaults base'" in error.reason


@pytest.mark.parametrize("line", IN_PROFILES)
def test_it_is_welcome_elsewhere(line: str) -> None:
    accepted(
        a=f"defaults own\n  {line}\nfrontend f from own\n  {line}\nbackend b from own\n  {line}\n"
        f"defaults {P}\n  # {line}\n"
    )


@pytest.mark.parametrize(
    "line",
    [
        "errorfile 503 /etc/errors/503.http",
        "http-error status 503 content-type text/plain string errorfile",
        "http-request return status 503 errorfiles ours",
        "no option external-check",
        "http-request set-header x-filter capture-that",
        "option httpchk",
    ],
)
def test_what_is_harmless_in_profiles_passes(line: str) -> None:
    accepted(a=f"defaults {P}\n  {line}\n")


def test_slots_have_no_external_check() -> None:
    """A server with a check that is added there ends the worker on every version."""
    error = refusal(a=f"backend {P}.0 from {P}\n  option external-check\n")
    assert f"'backend {P}.0'" in error.reason
    accepted(a=f"backend {P}.0 from {P}\n  filter compression\n")


def test_no_profile_that_can_be_rendered_holds_any_of_it() -> None:
    profiles = [*STANDARD_PROFILES, *every_profile()]
    text = Renderer(Templates()).profiles(FRONTENDS, profiles)
    check_invariants({"good.cfg": GOOD, PROFILES: text} | maps())
    assert text.count("defaults p") == len(profiles)
    for word in ("errorfile", "cache-", "capture", "compression", "filter", "external-check"):
        assert word not in text


def maps() -> dict[str, str]:
    return {name: text for name, text in rendered(config()).items() if name.startswith("maps/")}


def every_profile() -> list[Profile]:
    return [
        Profile(
            mode="http",
            balance=balance.value,
            cookie=cookie,
            connect_ms=times,
            queue_ms=times,
            check=check,  # type: ignore[arg-type]
            check_expect="200-399" if check == "http" else None,
            check_timeout_ms=times,
            rewrite_host=bool(headers),
            set_request=headers,
            remove_request=headers,
            set_response=headers,
            remove_response=headers,
        )
        for balance, cookie, times, check, headers in itertools.product(
            Balance, (None, "C"), (None, 10), ("none", "connect", "http"), ((), ("x-a", "x-b"))
        )
    ]


# --- what only a restart changes ---


@pytest.mark.parametrize("keyword", ["chroot", "user", "group", "uid", "gid"])
def test_who_haproxy_is_cant_be_changed_by_a_reload(keyword: str) -> None:
    without = {GLOBAL: "global\n    maxconn 1\n"}
    one = {GLOBAL: f"global\n    {keyword} /one\n"}
    two = {GLOBAL: f"global\n    {keyword} /two\n"}
    for same in (without, one):
        check_reloadable(same, same)
    for before, after, says in (
        (without, one, f"'{keyword}' is /one now, and was not set"),
        (one, without, f"'{keyword}' is not set now, and was /one"),
        (one, two, f"'{keyword}' is /two now, and was /one"),
    ):
        with pytest.raises(ConfigRejectedError, match=says):
            check_reloadable(before, after)


def test_only_the_global_section_says_who_haproxy_is() -> None:
    one = {GLOBAL: "global\n  maxconn 1\nuserlist u\n  user a password b\n", "note.txt": "x"}
    two = {GLOBAL: "global\n  maxconn 2\n  # chroot /x\nuserlist u\n  user c password d\n"}
    check_reloadable(one, two)


def test_a_spare_slot_is_a_backend_without_servers() -> None:
    standard = PoolPolicy(STANDARD_PROFILES, spare=2)
    files = rendered(CompiledConfig(msgspec.structs.replace(FRONTENDS)), standard)
    check_invariants(files)
    assert sum(text.count("backend p") for text in files.values()) == 2 * len(STANDARD_PROFILES)
    assert not any("    server " in text for text in files.values())
