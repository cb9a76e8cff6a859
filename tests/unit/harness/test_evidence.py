"""Evidence is whole but for what can't be had, which is told, and for what is secret."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.certificates import ThrowawayCa
from harness.dataplane_files import OPERATOR_CONFIG, Files
from harness.evidence import Evidence, Shelf, collect, kept_on, logs_below, shelf
from harness.haproxy import Sockets


def collected(target: Path, evidence: Evidence) -> dict[str, str]:
    collect({"part": lambda: evidence}, target)
    return contents(target)


def contents(place: Path) -> dict[str, str]:
    files = (path for path in place.rglob("*") if path.is_file())
    return {str(path.relative_to(place)): path.read_text() for path in files}


def files(place: Path, **texts: str) -> Path:
    for name, text in texts.items():
        path = place / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return place


def test_files_directories_and_answers_lie_in_the_folder_of_their_part(tmp_path: Path) -> None:
    place = files(tmp_path / "live", a_cfg="a", maps__b_map="b")
    evidence: Evidence = {"a.cfg": place / "a.cfg", "maps": place / "maps", "told.txt": lambda: "t"}
    assert collected(tmp_path / "kept", evidence) == {
        "part/a.cfg": "a",
        "part/maps/b.map": "b",
        "part/told.txt": "t",
    }


def test_what_was_there_before_goes(tmp_path: Path) -> None:
    files(tmp_path / "kept", part__old_txt="old")
    assert collected(tmp_path / "kept", {"new.txt": lambda: "new"}) == {"part/new.txt": "new"}


def test_what_cannot_be_had_is_told_and_keeps_nothing_else_away(tmp_path: Path) -> None:
    def silent() -> str:
        raise TimeoutError("timed out")

    def broken() -> Evidence:
        raise ZeroDivisionError("a mistake of the part's")

    place = files(tmp_path / "live", a_cfg="a")
    evidence: Evidence = {
        "gone.cfg": place / "gone.cfg",
        "show.txt": silent,
        "a.cfg": place / "a.cfg",
    }
    collect({"broken": broken, "part": lambda: evidence}, tmp_path / "kept")
    found = contents(tmp_path / "kept")
    assert found.pop("part/a.cfg") == "a"
    assert found.pop("errors.txt").splitlines() == [
        "broken: ZeroDivisionError: a mistake of the part's",
        f"part/gone.cfg: HarnessError: there is no file {place / 'gone.cfg'}",
        "part/show.txt: TimeoutError: timed out",
    ]
    assert found == {}


def test_a_file_that_vanishes_meanwhile_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = files(tmp_path / "live", a_map="a", b_map="b", c_map="c")
    read = Path.read_bytes

    def vanishing(path: Path) -> bytes:
        if path.name == "b.map":
            path.unlink()
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", vanishing)
    found = collected(tmp_path / "kept", {"maps": place})
    assert found.pop("errors.txt").startswith("part/maps/b.map: FileNotFoundError")
    assert found == {"part/maps/a.map": "a", "part/maps/c.map": "c"}


def test_what_is_no_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    place = files(tmp_path / "live", a_map="a")
    os.mkfifo(place / "pipe")
    found = collected(tmp_path / "kept", {"maps": place, "pipe": place / "pipe"})
    assert found.pop("errors.txt").startswith("part/pipe: HarnessError")
    assert found == {"part/maps/a.map": "a"}


def test_certificates_are_left_out_and_private_keys_wherever_they_are(tmp_path: Path) -> None:
    pem = ThrowawayCa(tmp_path / "ca").issue("a.example.com").read_text()
    assert "PRIVATE KEY" in pem
    texts = {"ssl__a": pem, "certs__b": pem, "c_pem": pem, "d_key": pem, "e_cfg": f"<{pem}>"}
    place = files(tmp_path / "live", **texts)
    torn = pem[: pem.index("-----END", pem.index("PRIVATE KEY")) - 10]
    evidence: Evidence = {"all": place, "answer.txt": lambda: torn}
    found = collected(tmp_path / "kept", evidence)
    assert set(found) == {"part/all/e.cfg", "part/answer.txt"}
    assert all("PRIVATE KEY" not in text and "left out" in text for text in found.values())
    assert found["part/all/e.cfg"].endswith(">")


def test_logs_are_found_however_deep_rotated_ones_too(tmp_path: Path) -> None:
    place = files(tmp_path, a_log="", deep__deeper__b_log="", c_log_1="", d_txt="")
    assert set(logs_below(place)) == {"a.log", "deep/deeper/b.log", "c.log.1"}


def test_a_data_plane_shows_what_it_stores_but_certificates(tmp_path: Path) -> None:
    stored = Files(tmp_path / "dp", operator=OPERATOR_CONFIG, single_file=False, pools=True)
    pem = ThrowawayCa(tmp_path / "ca").issue("a.example.com").read_text()
    for place, name in ((stored.certificates, "a.pem"), (stored.general, "b.pem")):
        (place / name).write_text(pem)
    stored.last_good.touch()
    (stored.maps / "fs-hosts.map").touch()
    assert set(collected(tmp_path / "kept", stored.evidence())) == {
        "part/op.cfg",
        "part/cp.cfg",
        "part/cp.cfg.lkg",
        "part/general/fs-pools.cfg",
        "part/maps/fs-hosts.map",
    }


# --- where it is kept ---


def test_the_first_folder_of_a_test_replaces_those_of_its_last_run(tmp_path: Path) -> None:
    place = files(tmp_path / "test", stack_old__a="old")
    ours = Shelf(place)
    ours.tell("failure.txt", "nothing was kept yet")
    assert set(contents(place)) == {"stack.old/a"}
    for name in ("one", "two"):
        assert ours.keep({"part": lambda: {"a": lambda: "a"}}, name) == place / name
    ours.tell("failure.txt", "why")
    assert contents(place) == {"one/part/a": "a", "two/part/a": "a", "failure.txt": "why"}


def test_a_shared_one_keeps_all(tmp_path: Path) -> None:
    place = files(tmp_path / "shared", stack_old__a="old")
    Shelf(place, shared=True).keep({}, "new")
    assert set(contents(place)) == {"stack.old/a"}


def test_a_shelf_is_used_within_its_block(tmp_path: Path) -> None:
    before, ours = shelf(), Shelf(tmp_path)
    with kept_on(ours):
        assert shelf() is ours
    assert shelf() is before


# --- what HAProxy says ---


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[Path]:
    """The socket of one that stands still: connections are made, and nobody answers."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "silent.sock"))
        listener.listen()
        yield tmp_path / "silent.sock"


def test_one_that_stands_still_is_told_soon(silent: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    answers = Sockets(silent, silent).evidence()
    found = collected(tmp_path / "kept", {"show-info.txt": answers["show-info.txt"]})
    assert time.monotonic() - began < 4
    assert found == {"errors.txt": "part/show-info.txt: TimeoutError: timed out\n"}


def test_each_map_is_shown_with_what_is_in_it(tmp_path: Path) -> None:
    said = {
        "show map": "# id (file) description\n0 (maps/a.map) pattern loaded\n7 (b.map) pattern\n",
        "show map #0": "0x1 key value\n",
        "show map #7": "",
    }
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "a.sock"))
        listener.listen()

        def answer() -> None:
            for _ in said:
                connection, _ = listener.accept()
                with connection:
                    command = connection.recv(1000).decode().strip()
                    connection.sendall(said[command].encode())

        thread = threading.Thread(target=answer)
        thread.start()
        told = Sockets(tmp_path / "a.sock", tmp_path / "m.sock").evidence()["show-map.txt"]
        assert callable(told)
        text = told()
        thread.join(10)
    assert text == said["show map"] + "# maps/a.map\n0x1 key value\n# b.map\n"
