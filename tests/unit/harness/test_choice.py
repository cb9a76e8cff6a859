"""Where stacks run and on what: what is chosen, and what there isn't is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.choice import chosen_backend, chosen_mongodb, chosen_place, make_parts
from harness.errors import HarnessError, UnavailableError


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BACKEND", "WHERE", "HAPROXY", "MONGODB"):
        monkeypatch.delenv(f"HARNESS_{name}", raising=False)


def test_unless_told_otherwise() -> None:
    assert (chosen_backend(), chosen_place(), chosen_mongodb()) == ("file", "native", "single")


def test_what_there_is_not_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_WHERE", "elsewhere")
    with pytest.raises(HarnessError, match="HARNESS_WHERE=elsewhere is none of: native, containe"):
        chosen_place()


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
