"""PostgreSQL as the harness brings it up: by password only, and what was committed stays."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from harness.errors import UnavailableError
from harness.postgresql import Postgresql
from harness.processes import alive
from harness.stack import Stack

# Nothing here depends on the backend.
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(start=False) as stack:
        yield stack


@pytest.fixture(scope="module")
def server(stack: Stack) -> Postgresql:
    try:
        return stack.postgresql()
    except UnavailableError as error:
        pytest.skip(f"no PostgreSQL here: {error}")


def ask(server: Postgresql, question: LiteralString) -> Any:
    with closing(psycopg.connect(server.url)) as connection:
        return connection.execute(question).fetchall()


def test_it_answers_whoever_has_the_password(server: Postgresql) -> None:
    owner = "SELECT datdba = current_user::regrole, current_database() FROM pg_database"
    ((owns, database),) = ask(server, f"{owner} WHERE datname = current_database()")
    assert (owns, database) == (True, "frontserver")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(make_conninfo(server.url, password="wrong"))


def test_it_writes_to_disk_and_listens_on_loopback_alone(server: Postgresql) -> None:
    settings = dict(ask(server, "SELECT name, setting FROM pg_settings"))
    wanted = {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "listen_addresses": "127.0.0.1",
    }
    assert {name: settings[name] for name in wanted} == wanted
    assert f".s.PGSQL.{server.port}" not in Path("/proc/net/unix").read_text()


def test_what_was_committed_survives_a_kill_and_nothing_else(server: Postgresql) -> None:
    with (
        closing(psycopg.connect(server.url)) as writer,
        closing(psycopg.connect(server.url)) as other,
    ):
        writer.execute("CREATE TABLE kept (word text)")
        writer.execute("INSERT INTO kept VALUES ('committed')")
        writer.commit()
        other.execute("INSERT INTO kept VALUES ('pending')")
        processes = (server.pid, writer.info.backend_pid, other.info.backend_pid)
        assert all(alive(pid) for pid in processes)
        # What stands still doesn't end of its own accord when the server is gone.
        os.kill(other.info.backend_pid, signal.SIGSTOP)
        server.kill()
        assert not any(alive(pid) for pid in processes)
        with pytest.raises(psycopg.OperationalError):
            other.commit()
    server.start()
    assert ask(server, "SELECT word FROM kept") == [("committed",)]


def test_stopping_ends_connections_and_starting_listens_where_it_was(server: Postgresql) -> None:
    url = server.url
    with closing(psycopg.connect(url)) as connection:
        server.stop()
        with pytest.raises(psycopg.OperationalError, match="terminating connection"):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="Connection refused"):
        psycopg.connect(url)
    server.start()
    assert server.url == url
    assert ask(server, "SELECT 1") == [(1,)]


def test_its_log_is_among_the_evidence(server: Postgresql, stack: Stack, tmp_path: Path) -> None:
    with pytest.raises(psycopg.Error):
        ask(server, "SELECT 'a line of the log' FROM nowhere")
    stack.evidence(tmp_path / "evidence")
    log = tmp_path / "evidence" / "logs" / "postgresql" / "main" / "postgresql.log"
    assert "a line of the log" in log.read_text()


def test_it_ends_with_its_stack() -> None:
    with Stack(start=False) as stack:
        try:
            server = stack.postgresql()
        except UnavailableError as error:
            pytest.skip(f"no PostgreSQL here: {error}")
        pid = server.pid
    assert not alive(pid)
    assert not stack.directory.exists()


def test_the_plugin_has_one_for_a_test_of_yours(
    frontserver_stack: Stack, frontserver_postgresql: Postgresql
) -> None:
    assert ask(frontserver_postgresql, "SELECT 1") == [(1,)]
    assert frontserver_stack.directory in frontserver_postgresql.log.parents
