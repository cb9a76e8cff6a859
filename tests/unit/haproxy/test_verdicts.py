"""The file that keeps findings between starts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from frontserver.errors import StorageError
from frontserver.haproxy.verdicts import Verdict, Verdicts
from frontserver.planning.capabilities import Behaviour

GOOD, BAD = Verdict(ok=True), Verdict(ok=False, reason="a request: HAProxy ended with SIGSEGV")
BEHAVIOUR = Behaviour(
    payload_limit=15_000,
    del_map_removes_all=True,
    init_state=False,
    automatic_sni=False,
    guid=False,
)


def test_findings_are_of_one_program_and_one_text(tmp_path: Path) -> None:
    path = tmp_path / "state" / "findings.json"
    kept = Verdicts(path)
    kept.keep_verdicts("3.2.26-1", {"a": GOOD, "b": BAD})
    kept.keep_behaviour("3.2.26-1", "base", BEHAVIOUR)
    for findings in (kept, Verdicts(path)):
        assert findings.verdict("3.2.26-1", "a") == GOOD
        assert findings.verdict("3.2.26-1", "b") == BAD
        assert findings.behaviour("3.2.26-1", "base") == BEHAVIOUR
        # Another build may behave otherwise; so may another configuration.
        assert findings.verdict("3.2.26-2", "a") is None
        assert findings.verdict("3.2.26-1", "c") is None
        assert findings.behaviour("3.2.26-1", "a") is None
    assert path.stat().st_mode & 0o777 == 0o600
    assert [child.name for child in path.parent.iterdir()] == [path.name]


def test_what_is_not_final_is_not_kept(tmp_path: Path) -> None:
    kept = Verdicts(tmp_path / "findings.json")
    kept.keep_verdicts("3.4.7", {"a": Verdict(ok=False, reason="slow", final=False)})
    assert kept.verdict("3.4.7", "a") is None
    assert not (tmp_path / "findings.json").exists()


def test_the_newest_are_kept_when_there_are_too_many(tmp_path: Path) -> None:
    kept = Verdicts(tmp_path / "findings.json")
    kept.keep_verdicts("3.4.7", {str(number): GOOD for number in range(4096)})
    kept.keep_verdicts("3.4.7", {"0": BAD, "new": GOOD})
    again = Verdicts(tmp_path / "findings.json")
    assert again.verdict("3.4.7", "1") is None
    assert (again.verdict("3.4.7", "0"), again.verdict("3.4.7", "new")) == (BAD, GOOD)


def test_several_may_keep_at_once(tmp_path: Path) -> None:
    kept = Verdicts(tmp_path / "findings.json")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: kept.keep_verdicts("3.4.7", {str(n): GOOD}), range(40)))
    again = Verdicts(tmp_path / "findings.json")
    assert {again.verdict("3.4.7", str(number)) for number in range(40)} == {GOOD}


def test_what_cannot_be_written_is_known_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kept = Verdicts(tmp_path / "file" / "findings.json")
    with pytest.raises(StorageError, match="can't be written"):
        kept.keep_verdicts("3.4.7", {"a": GOOD})
    assert kept.verdict("3.4.7", "a") == GOOD
