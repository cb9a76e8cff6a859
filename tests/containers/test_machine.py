"""A container as a machine: its programs behave as children do, and may do no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.containers.images import chosen_images
from harness.containers.machine import ContainerMachine
from harness.errors import HarnessError
from harness.polling import until
from harness.processes import alive


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[ContainerMachine]:
    machine = ContainerMachine(chosen_images().mongod, tmp_path)
    yield machine
    machine.close()


def test_nobody_is_root_and_only_the_stacks_files_can_be_written(
    machine: ContainerMachine, tmp_path: Path
) -> None:
    assert machine.run(["id", "-u"]).stdout.strip() != "0"
    refused = machine.run(["touch", "/opt/x"])
    assert refused.returncode != 0
    assert "Read-only file system" in refused.stderr
    assert machine.run(["touch", tmp_path / "x"]).returncode == 0
    assert (tmp_path / "x").exists()


def test_a_program_has_a_pid_of_this_machine_a_log_and_an_exit_code(
    machine: ContainerMachine, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    program = machine.start("sleeper", ["sh", "-c", "echo begun; sleep 600"], log=log)
    until("it says so", lambda: "begun" in log.read_text())
    assert alive(program.pid)
    assert program.exit_code is None
    program.kill()
    assert program.exit_code == -9
    assert not alive(program.pid)
    assert "begun" in program.tail()

    ended = machine.start("ended", ["sh", "-c", "exit 3"], log=log)
    assert ended.wait() == 3


def test_a_program_that_does_not_end_is_killed_and_named(
    machine: ContainerMachine, tmp_path: Path
) -> None:
    stubborn = "trap '' TERM; echo begun; while :; do sleep 0.1; done"
    log = tmp_path / "log"
    program = machine.start("stubborn", ["sh", "-c", stubborn], log=log)
    until("it says so", lambda: "begun" in log.read_text())
    with pytest.raises(HarnessError, match="stubborn didn't end within"):
        program.terminate(0.2)
    assert not alive(program.pid)


def test_settings_reach_a_program_and_ours_do_not(
    machine: ContainerMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRONTSERVER_LISTEN", "192.0.2.1:1")
    seen = machine.run(["env"], environ={"FRONTSERVER_BACKEND": "file"}).stdout
    assert "FRONTSERVER_BACKEND=file" in seen
    assert "FRONTSERVER_LISTEN" not in seen


def test_what_runs_goes_when_the_machine_goes(machine: ContainerMachine, tmp_path: Path) -> None:
    program = machine.start("sleeper", ["sleep", "600"], log=tmp_path / "log")
    pid = program.pid
    machine.close()
    until("it is gone", lambda: not alive(pid))
