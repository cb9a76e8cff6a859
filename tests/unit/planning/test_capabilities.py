"""What a version can do."""

from __future__ import annotations

import pytest

from frontserver.errors import ProxyError
from frontserver.planning.capabilities import NEEDED, Behaviour, Capabilities


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("2.8.25-5cf5d0683", (2, 8, 25)),
        ("HAProxy version 3.0.11-1+deb13u3 2026/05/20 - https://haproxy.org/", (3, 0, 11)),
        ("3.2.26-1\n", (3, 2, 26)),
        ("3.4-dev5-1a2b3c", (3, 4, 0)),
        ("2.8", (2, 8, 0)),
    ],
)
def test_the_version_is_found_in_what_haproxy_prints(
    text: str, version: tuple[int, int, int]
) -> None:
    assert Capabilities.from_version(text).version == version


@pytest.mark.parametrize("text", ["2.6.12-1", "1.8.0", "2.7.99"])
def test_what_is_older_than_2_8_is_refused(text: str) -> None:
    with pytest.raises(ProxyError, match="too old"):
        Capabilities.from_version(text)


@pytest.mark.parametrize("text", ["", "haproxy", "Unknown command: 'show'"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ProxyError, match="not a HAProxy version"):
        Capabilities.from_version(text)


def test_abilities_come_with_their_versions() -> None:
    old, middle, new = (Capabilities.from_version(text) for text in ("2.8.25", "3.0.0", "3.4.7"))
    assert (old.wait, middle.wait, new.wait) == (False, True, True)
    assert (middle.dynamic_backends, new.dynamic_backends) == (False, True)
    assert (middle.payload_limit, new.payload_limit) == (15_000, 120_000)
    assert (old.del_map_removes_all, new.del_map_removes_all) == (True, False)


def test_a_newer_version_than_known_counts_as_the_newest_known() -> None:
    newest, future = Capabilities.from_version("3.4.0"), Capabilities.from_version("4.1.2")
    assert future == Capabilities.from_version("4.1.2")
    assert {f: getattr(future, f) for f in future.__struct_fields__[1:]} == {
        f: getattr(newest, f) for f in newest.__struct_fields__[1:]
    }


def test_a_version_alone_is_an_assumption_until_something_is_observed() -> None:
    assumed = Capabilities.from_version("3.4.7")
    fields = set(assumed.__struct_fields__) - {"version", "lacking", "assumed"}
    assert assumed.assumed == fields
    told = assumed.told(NEEDED, ())
    assert told.assumed == fields - {"wait", "dynamic_backends"}
    shown = told.tried(
        Behaviour(
            payload_limit=1,
            del_map_removes_all=True,
            init_state=False,
            automatic_sni=False,
            guid=False,
        )
    )
    assert shown.assumed == frozenset()
    assert (shown.payload_limit, shown.del_map_removes_all, shown.guid) == (1, True, False)


def test_what_it_says_is_believed_over_its_version() -> None:
    new, old = Capabilities.from_version("3.4.7"), Capabilities.from_version("2.8.0")
    silent = new.told((), ())
    assert (silent.wait, silent.dynamic_backends) == (False, False)
    backends = {f"{verb} backend" for verb in ("add", "del", "publish", "unpublish")}
    eloquent = old.told({"wait", *backends, *NEEDED}, {"srv-removable"})
    assert (eloquent.wait, eloquent.dynamic_backends) == (True, True)
    # Half of it is of no use: what was made must be taken away again.
    assert not old.told(backends - {"del backend"}, ()).dynamic_backends
    assert not old.told({"wait"}, {"be-removable"}).wait


def test_needed_commands_that_are_not_offered_are_named() -> None:
    assert Capabilities.from_version("3.2.0").told(NEEDED, ()).lacking == ()
    fewer = NEEDED - {"set ssl cert", "add server"}
    assert Capabilities.from_version("3.2.0").told(fewer, ()).lacking == (
        "add server",
        "set ssl cert",
    )
