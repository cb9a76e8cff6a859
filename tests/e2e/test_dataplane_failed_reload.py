"""A reload that HAProxy's check accepts and HAProxy refuses: the API's memory is ahead then."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness.patient import Patient
from harness.polling import until
from harness.ports import free_port
from harness.stack import Stack

pytestmark = pytest.mark.dataplane_backend

MakeStack = Callable[..., Stack]

# A listener of the operator's, as long as a route has this header.
CULPRIT = "x-listener"
TEMPLATE = """\
{{% for profile in profiles %}}
{{% if "{header}" in profile.set_request %}}
listen fs_more from fs_http
    bind 127.0.0.1:{port}
    http-request return status 200

{{% endif %}}
{{% endfor %}}
"""


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another process, this one, listens on."""
    with socket.socket() as listener:
        port = free_port()
        listener.bind(("127.0.0.1", port))
        listener.listen()
        yield port


@pytest.fixture
def patient(make_stack: MakeStack, tmp_path: Path, taken: int) -> Patient:
    custom = tmp_path / "custom"
    custom.mkdir()
    template = TEMPLATE.format(header=CULPRIT, port=taken)
    (custom / "after_profiles.cfg.j2").write_text(template)
    environ = {"FRONTSERVER_TEMPLATE_DIR": str(tmp_path)}
    return Patient(make_stack(backend="dataplane", environ=environ))


def setting(name: str) -> dict[str, Any]:
    return {"request": {"set": {name: "1"}}}


def test_the_culprit_fails_and_the_others_go_live(patient: Patient, taken: int) -> None:
    names = ["x-fine-1", CULPRIT, "x-fine-2"]
    with patient:
        with ThreadPoolExecutor(len(names)) as pool:
            asked = [
                pool.submit(
                    patient.publish,
                    f"reload-{name}",
                    patient.origin("b"),
                    wait=60,
                    headers=setting(name),
                )
                for name in names
            ]
            answers = dict(zip(names, (one.result() for one in asked), strict=True))
        for name in names:
            if name != CULPRIT:
                assert answers[name]["status"] == "active", answers[name]
        assert answers[CULPRIT]["status"] == "failed", answers[CULPRIT]
        assert f"127.0.0.1:{taken}" in answers[CULPRIT]["reason"], "HAProxy's own message"
        del patient.promises[f"reload-{CULPRIT}"]
        patient.healed(10)
        patient.until_written()
        assert patient.disagreement() == ""

        # What comes later is in nobody's way, with a reload and without.
        assert patient.publish("plain", patient.origin("a"))["status"] == "active"
        later = patient.publish("later", patient.origin("a"), wait=60, headers=setting("x-later"))
        assert later["status"] == "active"
        patient.until_written()
        assert patient.disagreement() == ""
    patient.stack.front.kill()
    patient.stack.front.kill_haproxy()
    patient.dataplane.haproxy.start()
    until("the files alone have all", lambda: patient.broken() == [])


def test_what_only_the_operator_can_mend_stops_no_change(
    patient: Patient, tmp_path: Path, taken: int
) -> None:
    """A template with a port that is taken: no route is to blame, and what runs goes on."""
    template = tmp_path / "custom" / "after_frontends.cfg.j2"
    front = patient.stack.front
    with patient:
        template.write_text(
            f"listen fs_more from fs_http\n    bind 127.0.0.1:{taken}\n"
            "    http-request return status 200\n"
        )
        front.run("config", "reload", check=False)
        patient.until_it_says(f"127.0.0.1:{taken}")
        assert patient.publish("meanwhile", patient.origin("b"))["status"] == "active"
        waits = patient.publish("waits", patient.origin("b"), wait=1, headers=setting("x-waits"))
        assert waits["status"] == "pending"
        # HAProxy refuses new connections for as long as it tries to bind, and isn't made to often.
        until(
            "what runs goes on",
            lambda: patient.broken([*patient.untouched, "meanwhile"]) == [],
            seconds=5,
        )
        reloads = patient.stack.front.sockets.reloads()
        visited = patient.visitors.done
        until("visitors go on", lambda: patient.visitors.done > visited + 50)
        assert patient.stack.front.sockets.reloads() == reloads
        template.unlink()
        front.run("config", "reload")
        patient.healed(10)
        patient.until_written()
        assert patient.disagreement() == ""


@pytest.mark.long
def test_a_mistake_in_the_operators_own_part_stops_no_change(patient: Patient, taken: int) -> None:
    """What runs can't be loaded either then, so files wait; until somebody mends it."""
    config = patient.dataplane.files.operator_config
    text = config.read_text()
    front = patient.stack.front
    with patient:
        config.write_text(f"{text}\nfrontend more\n    bind 127.0.0.1:{taken}\n")
        waits = patient.publish("waits", patient.origin("b"), wait=1, headers=setting("x-waits"))
        assert waits["status"] == "pending"
        patient.until_it_says(f"127.0.0.1:{taken}")
        assert patient.publish("meanwhile", patient.origin("b"))["status"] == "active"
        until(
            "what runs goes on",
            lambda: patient.broken([*patient.untouched, "meanwhile"]) == [],
            seconds=5,
        )
        reloads, visited = front.sockets.reloads(), patient.visitors.done
        until("visitors go on", lambda: patient.visitors.done > visited + 50)
        assert front.sockets.reloads() == reloads
        config.write_text(text)
        patient.healed(70)
        patient.until_written()
        assert patient.disagreement() == ""
