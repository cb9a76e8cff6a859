"""Where stacks run and on what: what is chosen, and what there isn't is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.choice import (
    OWNED,
    checked_settings,
    chosen_backend,
    chosen_mongodb,
    chosen_place,
    chosen_version,
    make_parts,
)
from harness.errors import HarnessError, UnavailableError


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BACKEND", "WHERE", "HAPROXY", "MONGODB"):
        monkeypatch.delenv(f"HARNESS_{name}", raising=False)


def test_unless_told_otherwise() -> None:
    assert (chosen_backend(), chosen_place(), chosen_mongodb()) == ("file", "native", "single")
    assert chosen_version() is None


WRONG = [
    (chosen_backend, "backend", "data-plane", "is none of: file, dataplane"),
    (chosen_place, "where", "container", "is none of: native, containers"),
    (chosen_mongodb, "mongodb", "replicaset", "is none of: single, replica-set"),
    (chosen_version, "haproxy", "newest", "is no version such as '3.4'"),
]


@pytest.mark.parametrize(("choose", "name", "wrong", "complaint"), WRONG)
def test_what_there_is_not_is_refused_alike_as_a_variable_and_as_an_argument(
    monkeypatch: pytest.MonkeyPatch,
    choose: Callable[[str | None], object],
    name: str,
    wrong: str,
    complaint: str,
) -> None:
    with pytest.raises(HarnessError, match=f"^{name}='{wrong}' {complaint}"):
        choose(wrong)
    monkeypatch.setenv(f"HARNESS_{name.upper()}", wrong)
    with pytest.raises(HarnessError, match=f"^HARNESS_{name.upper()}='{wrong}' {complaint}"):
        choose(None)


def test_an_argument_wins_over_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BACKEND", "WHERE", "HAPROXY", "MONGODB"):
        monkeypatch.setenv(f"HARNESS_{name}", "wrong")
    assert chosen_backend("dataplane") == "dataplane"
    assert chosen_place("containers") == "containers"
    assert chosen_mongodb("replica-set") == "replica-set"
    assert chosen_version("3.4") == "3.4"


def test_an_empty_variable_chooses_nothing_but_an_empty_argument_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HARNESS_BACKEND", "")
    assert chosen_backend() == "file"
    with pytest.raises(HarnessError, match=r"^backend='' is none of"):
        chosen_backend("")


def test_a_version_is_a_string() -> None:
    """3.10 as a number is 3.1."""
    with pytest.raises(HarnessError, match=r"haproxy=3\.4 is no version such as '3\.4'"):
        chosen_version(3.4)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", OWNED)
def test_what_the_harness_holds_together_is_not_for_a_test_to_set(name: str) -> None:
    with pytest.raises(HarnessError, match=rf"^{name} is the harness's own: .*`.+`"):
        checked_settings({"FRONTSERVER_ENROLMENT": "closed", name: "anything"})


def test_all_other_settings_are_a_tests_to_make() -> None:
    settings = {"FRONTSERVER_ENROLMENT": "closed", "FRONTSERVER_DATAPLANE_URL": "http://x"}
    assert checked_settings(settings) == settings


def test_a_version_that_is_not_here_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_HAPROXY", "1.9")
    with pytest.raises(UnavailableError, match=r"HAProxy 1\.9 isn't here"):
        make_parts()


def test_natively_the_usual_haproxy_is_found_where_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "haproxy"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("FRONTSERVER_HAPROXY_BIN", str(program))
    assert make_parts().haproxy() == program
