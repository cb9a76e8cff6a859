"""What of a configuration a throwaway process may load."""

from __future__ import annotations

from pathlib import Path

import pytest

from frontserver.haproxy.excerpt import excerpt

PROFILE, OTHER = "p0123456789ab", "pba9876543210"
FILES = {
    "10-frontends.cfg": (
        "frontend in from base\n    bind :80\n.if defined(X)\n    bind :81\n.endif\n"
        "backend rates\n    stick-table type ip size 1\n    server s 10.0.0.1:80 check\n"
        "peers others\n    bind :1024\n    server me\n"
        "listen status\n    bind :9000\n"
    ),
    "00-global.cfg": (
        "# a comment\nglobal\n    chroot /jail\n    user nobody\n    stats socket /run/rt.sock\n"
        "    description frontserver-000041-abc\n    tune.bufsize 32768\n    nbthread 8\n"
        "    log /dev/log local0\n    lua-load /etc/rules.lua\n\ndefaults base\n    mode http\n"
    ),
    "20-profiles.cfg": (
        f"defaults {PROFILE} from base\n    mode http\n    option httpchk\n"
        f"defaults {OTHER} from base\n    mode tcp\n"
    ),
}


def test_rules_stay_and_doors_go() -> None:
    assert excerpt(FILES, frozenset({PROFILE}), slots=0).base == (
        "global\n    tune.bufsize 32768\n    lua-load /etc/rules.lua\n"
        "defaults base\n    mode http\n"
        ".if defined(X)\n.endif\n"
        "backend rates\n    stick-table type ip size 1\n"
        "peers others\n    server me\n"
    )


def test_a_profile_comes_with_its_slots_and_without_others() -> None:
    written = {"50-slots.cfg": f"backend {PROFILE}.1 from {PROFILE}\n    fullconn 7\n"}
    cut = excerpt({**FILES, **written}, frozenset({PROFILE}), slots=2)
    own = "".join(section.text for section in cut.profiles[PROFILE])
    assert own == (
        f"defaults {PROFILE} from base\n    mode http\n    option httpchk\n"
        f"backend {PROFILE}.0 from {PROFILE}\n"
        f"backend {PROFILE}.1 from {PROFILE}\n    fullconn 7\n"
    )
    text = cut.text(Path("/tmp/x"), PROFILE)
    assert text.startswith("global\n    default-path config\n    stats socket unix@/tmp/x/rt.sock ")
    assert text.endswith(own)
    assert OTHER not in text


def test_whoever_sits_on_a_slot_stays_out() -> None:
    """Else a trial would check somebody's origin, want its CA, and tell each route's profile apart.

    What HAProxy prepares at its start for a server that is there already, it also lacks for one
    that comes later: that is what crashes (red list R3).
    """
    slot = f"backend {PROFILE}.0 from {PROFILE}\n"
    line = "    server s1 10.0.0.1:443 ssl verify required ca-file certs/ca-1.pem check\n"
    wanted = frozenset({PROFILE})
    taken = excerpt({**FILES, "50-slots.cfg": slot + line}, wanted, slots=1)
    assert taken == excerpt({**FILES, "50-slots.cfg": slot}, wanted, slots=1)


def test_equal_rules_are_equal_whatever_else_changed() -> None:
    """Verdicts are kept by this text."""
    moved = {
        name: text.replace("000041-abc", "000042-def").replace(":80\n", ":8080\n")
        for name, text in FILES.items()
    }
    fewer = {**moved, "20-profiles.cfg": moved["20-profiles.cfg"].partition(f"defaults {OTHER}")[0]}
    assert fewer != FILES
    wanted = frozenset({PROFILE})
    assert excerpt(fewer, wanted, slots=2) == excerpt(FILES, wanted, slots=2)


def test_a_profile_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError):
        excerpt(FILES, frozenset({"p000000000000"}), slots=1)
