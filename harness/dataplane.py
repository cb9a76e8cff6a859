"""A Data Plane API beside a HAProxy of its own: the real program, or the harness's double.

with DataPlane(directory) as dp, dp.client() as client:
    client.get("/services/haproxy/configuration/version")

`DATAPLANEAPI_BIN` names the real program; without it the double runs. Both read the same file.
"""

from __future__ import annotations

import os
import secrets
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from harness.certificates import ThrowawayCa
from harness.contract.journal import Journal
from harness.dataplane_files import OPERATOR_CONFIG, Files
from harness.errors import HarnessError, UnavailableError
from harness.evidence import Evidence
from harness.haproxy import ExternalHaproxy, Sockets, find_haproxy
from harness.machines import Here, Machine
from harness.polling import until
from harness.ports import free_port
from harness.processes import Program, sweep

USER = "frontserver"
Contract = tuple[Callable[[httpx.Request], None], Callable[[httpx.Response], None]]

_ROOT = Path(__file__).parents[1]
# One that was started while HAProxy was down answers after a minute.
_PATIENCE = 90.0


def find_dataplane() -> Path | None:
    """The program that `DATAPLANEAPI_BIN` names, `None` if it names none.

    Raises `UnavailableError`.
    """
    chosen = os.environ.get("DATAPLANEAPI_BIN")
    if not chosen:
        return None
    if not os.access(chosen, os.X_OK):
        raise UnavailableError(f"DATAPLANEAPI_BIN={chosen} isn't an executable file")
    return Path(chosen)


class DataPlane:
    """A HAProxy and the Data Plane that drives it, on free ports, with `files` in `directory`.

    `program` is a `dataplaneapi`, `None` the double; `operator`, `single_file` and `pools` go to
    `Files`. With `tls` the API wants a client certificate, and nothing else. `reload_delay` is
    in seconds, after which a reload that nobody forced is done. `settings` are merged into
    `dataplaneapi.yml`, mapping by mapping. The directory must have a short path: HAProxy's sockets
    lie in it (unix(7) allows 107 bytes).

    The double holds all that it is asked and answers against the API's OpenAPI document, unless
    `watched` is false; what is wrong is in `journal`, and raised at the end of the block.
    """

    def __init__(
        self,
        directory: Path,
        *,
        program: Path | None,
        haproxy: Path | None = None,
        operator: str = OPERATOR_CONFIG,
        single_file: bool = False,
        pools: bool = False,
        tls: bool = False,
        reload_delay: int = 1,
        settings: Mapping[str, Any] | None = None,
        machine: Machine | None = None,
        watched: bool = True,
    ) -> None:
        self.directory = directory
        self._machine = machine or Here()
        self.program = program
        self.user, self.password = USER, secrets.token_urlsafe(18)
        self.port = free_port()
        self.log = directory / "dataplane.log"
        self.journal = Journal(directory / "contract.log")
        self._watched = watched
        self.files = Files(directory, operator=operator, single_file=single_file, pools=pools)
        self.sockets = Sockets(self.files.runtime_socket, self.files.master_socket)
        binary = haproxy or find_haproxy()
        self.haproxy = ExternalHaproxy(
            binary,
            self.files.configs,
            self.sockets,
            log=directory / "haproxy.log",
            machine=self._machine,
        )
        self._ca = ThrowawayCa(directory / "ca") if tls else None
        self.client_certificate = self._ca.issue("frontserver", client=True) if self._ca else None
        self.files.write_settings(
            haproxy=binary,
            port=self.port,
            user=self.user,
            password=self.password,
            reload_delay=reload_delay,
            tls=(self._ca, self._ca.issue("127.0.0.1", "localhost")) if self._ca else None,
            changes=settings or {},
        )
        self._child: Program | None = None

    # --- how to reach it ---

    @property
    def url(self) -> str:
        """Where it listens, without the `/v3` of its paths."""
        return f"{'https' if self._ca else 'http'}://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> Path | None:
        """The CA that the API's certificate is from; `None` without TLS."""
        return self._ca.file if self._ca else None

    def client(self, *, timeout: float = 40.0, contract: Contract | None = None) -> httpx.Client:
        """A client that may do everything; its URLs go on after `/v3`.

        `contract` is told each request before it goes out, and each response.
        """
        trust: ssl.SSLContext | bool = False
        if self.client_certificate is not None:
            trust = ssl.create_default_context(cafile=self.ca_file)
            trust.load_cert_chain(self.client_certificate)
        hooks: dict[str, list[Callable[..., Any]]] = {}
        if contract is not None:
            hooks = {"request": [contract[0]], "response": [contract[1]]}
        return httpx.Client(
            base_url=f"{self.url}/v3",
            auth=None if self._ca else (self.user, self.password),
            verify=trust,
            timeout=timeout,
            trust_env=False,
            event_hooks=hooks,
        )

    # --- the Data Plane's life ---

    @property
    def pid(self) -> int:
        """The process id of the Data Plane."""
        return self._started.pid

    @property
    def runs(self) -> bool:
        """Whether the Data Plane's process is there."""
        return self._child is not None and self._child.exit_code is None

    def start(self, *, wait: bool = True) -> None:
        """Start the Data Plane, and wait until it answers. Raises `HarnessError`."""
        if self.runs:
            raise HarnessError("the Data Plane runs already")
        # The double is found wherever the tests are run from.
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._child = self._machine.start(
            "the Data Plane",
            [*self._command, "-f", self.files.settings],
            log=self.log,
            environ={"PYTHONPATH": os.pathsep.join(paths)},
        )
        if wait:
            self.wait_ready()

    def wait_ready(self, seconds: float = _PATIENCE) -> None:
        """Wait until it answers, whatever HAProxy does. Raises `HarnessError`."""
        child = self._started
        with self.client(timeout=5) as client:

            def answers() -> bool:
                if child.exit_code is not None:
                    raise HarnessError(
                        f"the Data Plane ended with {child.exit_code}\n{child.tail()}"
                    )
                return client.get("/services/haproxy/configuration/version").is_success

            until(
                "the Data Plane answers",
                answers,
                seconds=seconds,
                quiet=(httpx.HTTPError,),
                detail=child.tail,
            )

    def kill(self) -> None:
        """SIGKILL to the Data Plane; HAProxy goes on."""
        self._started.kill()

    def terminate(self) -> int:
        """SIGTERM to the Data Plane; its exit code. HAProxy goes on."""
        return self._started.terminate()

    def restart(self, *, wait: bool = True) -> None:
        """Start it anew; it is killed first if it runs."""
        if self.runs:
            self.kill()
        self.start(wait=wait)

    def revive(self, *, wait: bool = True) -> None:
        """Start HAProxy again, and then the Data Plane anew, as the shipped units do."""
        self.haproxy.restart()
        self.restart(wait=wait)

    def clean_up(self) -> None:
        """End everything, whatever state it is in; files stay."""
        if self._child is not None:
            self._child.kill()
        self.haproxy.end()
        sweep(self.directory)
        self.haproxy.stop()

    def evidence(self) -> Evidence:
        """What both read and write, but for certificates, and what HAProxy tells."""
        return {
            **self.files.evidence(),
            self.files.settings.name: self._settings_without_password,
            **self.sockets.evidence(),
        }

    def _settings_without_password(self) -> str:
        # The real program writes the file anew, in a form of its own.
        return self.files.settings.read_text().replace(self.password, "(left out)")

    def tail(self) -> str:
        """The ends of the logs of both."""
        dataplane = [self._child.tail()] if self._child is not None else []
        return "\n".join([*dataplane, self.haproxy.tail()])

    @property
    def _command(self) -> tuple[str | Path, ...]:
        if self.program is not None:
            return (self.program,)
        double = (self._machine.program("python"), "-m", "harness.dataplane_double")
        return (*double, "--journal", self.journal.file) if self._watched else double

    @property
    def _started(self) -> Program:
        if self._child is None:
            raise HarnessError("the Data Plane was never started")
        return self._child

    def __enter__(self) -> Self:
        try:
            self.haproxy.start()
            self.start()
        except BaseException:
            self.clean_up()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clean_up()
        self.journal.complain()
