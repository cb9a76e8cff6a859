"""A real PostgreSQL server."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
from contextlib import closing
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Self

from harness.errors import HarnessError, UnavailableError
from harness.machines import Machine, Unprivileged
from harness.polling import until
from harness.ports import free_port
from harness.processes import Program, kill, working_in

# The role of `Postgresql.url`, and the database that it owns.
NAME = "frontserver"
_ADMIN = "postgres"
_CHOICE = "POSTGRESQL_BIN"


def find_postgresql(debian: Path = Path("/usr/lib/postgresql")) -> Path:
    """The directory of `initdb` and `postgres`: POSTGRESQL_BIN, on PATH, or the newest of Debian's.

    Raises `UnavailableError` with what to do.
    """
    chosen = os.environ.get(_CHOICE)
    if chosen:
        if _has_programs(Path(chosen)):
            return Path(chosen)
        raise UnavailableError(f"{_CHOICE}={chosen} has no executable initdb and postgres")
    places = sorted(debian.glob("[0-9]*/bin"), key=_version, reverse=True)
    if on_path := shutil.which("postgres"):
        places.insert(0, Path(on_path).resolve().parent)
    for place in places:
        if _has_programs(place):
            return place
    raise UnavailableError(
        "no PostgreSQL: install it (on Debian or Ubuntu: apt install postgresql), or name the"
        f" directory of initdb and postgres as {_CHOICE}"
    )


def _has_programs(place: Path) -> bool:
    return all(os.access(place / name, os.X_OK) for name in ("initdb", "postgres"))


def _driver() -> ModuleType:
    """psycopg, which nobody else needs. Raises `UnavailableError`."""
    try:
        import psycopg.sql  # noqa: PLC0415
    except ImportError as error:
        raise UnavailableError(f"{error}: install the extra `harness`") from error
    return psycopg


def _version(place: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in place.parent.name.split(".") if part.isdigit())


class Postgresql:
    """A PostgreSQL server on 127.0.0.1, whose data stays in `directory` between its starts.

    The role of `url` owns an empty database, and is no superuser. Everybody needs a password; there
    is no Unix socket.
    """

    def __init__(
        self,
        directory: Path,
        *,
        programs: Path | None = None,
        machine: Machine | None = None,
        port: int | None = None,
    ) -> None:
        """`programs` is where its programs are on `machine`, found here by default."""
        self._machine = machine or Unprivileged(directory)
        self._programs = find_postgresql() if programs is None else programs
        self.port = port or free_port()
        self._directory = directory
        self._data = directory / "data"
        self.log = directory / "postgresql.log"
        self._password = secrets.token_hex(16)
        self._admin_password = secrets.token_hex(16)
        self._child: Program | None = None
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        """`postgresql://USER:PASSWORD@127.0.0.1:PORT/DATABASE`, the same for all its life."""
        return self._url(NAME, self._password, NAME)

    @property
    def pid(self) -> int:
        """The process id of the server, whose children serve connections."""
        if self._child is None:
            raise HarnessError("this PostgreSQL isn't running")
        return self._child.pid

    def start(self) -> Self:
        """Start it, and wait until it answers. Raises `HarnessError` with the end of its log."""
        psycopg = _driver()
        is_new = not self._data.exists()
        if is_new:
            self._initialise()
        child = self._child = self._machine.start(
            f"postgresql:{self.port}",
            [
                *(self._programs / "postgres", "-D", self._data),
                *("-c", "listen_addresses=127.0.0.1", "-c", f"port={self.port}"),
                *("-c", "unix_socket_directories="),
            ],
            log=self.log,
        )

        def answers() -> bool:
            if child.exit_code is not None:
                raise HarnessError(f"PostgreSQL ended with {child.exit_code}\n{child.tail()}")
            psycopg.connect(self._admin_url, connect_timeout=5).close()
            return True

        until(
            "PostgreSQL answers",
            answers,
            seconds=60,
            quiet=(psycopg.OperationalError,),
            detail=child.tail,
        )
        if is_new:
            self._make_database()
        return self

    def stop(self) -> None:
        """End all connections and stop it in order. Stopping twice is fine."""
        if self._child is None:
            return
        try:
            if self._child.exit_code is None:
                # Not SIGTERM, by which it waits for connections to end.
                os.kill(self._child.pid, signal.SIGINT)
            self._child.wait()
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL to all its processes, and wait. Killing twice is fine."""
        if self._child is None:
            return
        child, self._child = self._child, None
        child.kill()
        # Their command lines don't tell whose they are.
        for pid in working_in(self._data):
            kill(pid)

    def _initialise(self) -> None:
        password = self._directory / "password"
        password.touch(mode=0o600)
        password.write_text(self._admin_password)
        done = self._machine.run(
            [
                *(self._programs / "initdb", "--pgdata", self._data),
                *("--username", _ADMIN, "--pwfile", password, "--auth", "scram-sha-256"),
                *("--encoding", "UTF8", "--locale", "C"),
            ]
        )
        password.unlink()
        if done.returncode != 0:
            raise HarnessError(f"initdb ended with {done.returncode}\n{done.stdout}{done.stderr}")

    def _make_database(self) -> None:
        psycopg = _driver()
        sql = psycopg.sql
        role = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
            sql.Identifier(NAME), self._password
        )
        database = sql.SQL("CREATE DATABASE {0} OWNER {0}").format(sql.Identifier(NAME))
        with closing(psycopg.connect(self._admin_url, autocommit=True)) as connection:
            connection.execute(role)
            connection.execute(database)

    @property
    def _admin_url(self) -> str:
        return self._url(_ADMIN, self._admin_password, _ADMIN)

    def _url(self, user: str, password: str, database: str) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
