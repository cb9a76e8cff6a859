"""The product as a child process: started, killed, restarted, and cleaned up for certain."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path

import httpx

from harness.dataplane import DataPlane
from harness.errors import HarnessError
from harness.evidence import Evidence
from harness.haproxy import Sockets
from harness.machines import Here, Machine
from harness.polling import until
from harness.ports import free_port
from harness.processes import Program, kill, processes_of, serves, sweep, tail

ADMIN_TOKEN = "an-operator-of-the-harness"  # noqa: S105 - opens nothing outside a test
APP_DOMAIN = "apps.example.com"
MONGO_DOMAIN = "mongodb.example.com"


class FrontServer:
    """`frontserver serve` on free ports of `machine`, with its state in `directory`.

    It drives HAProxy through `dataplane` if there is one, else by the file backend. `environ` adds
    or replaces FRONTSERVER_ settings (names in full). The directory must have a short path:
    HAProxy's sockets lie below it (unix(7) allows 107 bytes).
    """

    def __init__(
        self,
        directory: Path,
        *,
        haproxy: Path,
        https_certificate: Path | None = None,
        environ: Mapping[str, str] | None = None,
        dataplane: DataPlane | None = None,
        machine: Machine | None = None,
    ) -> None:
        self.dataplane = dataplane
        self.machine = machine or Here()
        self.directory = directory
        self.state_dir = directory / "state"
        self.state_dir.mkdir(parents=True, exist_ok=True)
        self.log = directory / "frontserver.log"
        self.api_port, self.http_port = free_port(), free_port()
        self.https_port, self.mongo_port = free_port(), free_port()
        run = self.state_dir / "run"
        settings = {
            "FRONTSERVER_STATE_DIR": str(self.state_dir),
            "FRONTSERVER_LISTEN": f"127.0.0.1:{self.api_port}",
            "FRONTSERVER_HTTPS_BIND": f"127.0.0.1:{self.https_port}",
            **self._binds(),
            "FRONTSERVER_APP_DOMAIN": APP_DOMAIN,
            "FRONTSERVER_MONGO_DOMAIN": MONGO_DOMAIN,
            "FRONTSERVER_TARGET_POLICY": "allow-loopback",
            "FRONTSERVER_ENROLMENT": "open",
            "FRONTSERVER_ADMIN_TOKEN": ADMIN_TOKEN,
            "FRONTSERVER_HAPROXY_BIN": str(haproxy),
            "FRONTSERVER_RUNTIME_SOCKET": str(run / "runtime.sock"),
            "FRONTSERVER_MASTER_SOCKET": str(run / "master.sock"),
            "FRONTSERVER_CONFIG_DIR": str(self.state_dir / "haproxy"),
        }
        if https_certificate is None:
            settings["FRONTSERVER_HTTPS_BIND"] = "off"
        else:
            settings["FRONTSERVER_HTTPS_CERTIFICATE"] = str(https_certificate)
        self.environ = {**settings, **_driving(dataplane), **(environ or {})}
        self.sockets = self._own_sockets() if dataplane is None else dataplane.sockets
        self._child: Program | None = None

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def config_dir(self) -> Path:
        """Where HAProxy's configuration is."""
        if self.dataplane is not None:
            return self.dataplane.directory
        return Path(self.environ["FRONTSERVER_CONFIG_DIR"])

    @property
    def maps_dir(self) -> Path:
        """Where the map files are that HAProxy reads when it starts."""
        if self.dataplane is not None:
            return self.dataplane.files.maps
        return self.config_dir / "current" / "maps"

    def use(self, dataplane: DataPlane | None, **settings: str) -> None:
        """Drive HAProxy through `dataplane` from the next start on, or by the file backend."""
        self.dataplane = dataplane
        self.environ |= {**_driving(dataplane), **settings}
        self.sockets = self._own_sockets() if dataplane is None else dataplane.sockets

    def bind(self, *, http: int, mongo: int) -> None:
        """Have visitors at these ports of 127.0.0.1 from the next start on."""
        self.http_port, self.mongo_port = http, mongo
        self.environ |= self._binds()

    def _binds(self) -> dict[str, str]:
        return {
            "FRONTSERVER_HTTP_BIND": f"127.0.0.1:{self.http_port}",
            "FRONTSERVER_MONGO_BIND": f"127.0.0.1:{self.mongo_port}",
        }

    def _own_sockets(self) -> Sockets:
        return Sockets(
            Path(self.environ["FRONTSERVER_RUNTIME_SOCKET"]),
            Path(self.environ["FRONTSERVER_MASTER_SOCKET"]),
        )

    @property
    def pid(self) -> int:
        """The process id of the control plane."""
        return self._running.pid

    # --- the control plane ---

    @property
    def runs(self) -> bool:
        """Whether the control plane's process is there."""
        return self._child is not None and self._child.exit_code is None

    def start(self, *arguments: str, ready: bool = True, revive: bool = True) -> None:
        """Start `serve` and wait until it is ready, or only until its API answers.

        With `revive` a HAProxy that isn't the front server's to run is there before.
        """
        if self.runs:
            raise HarnessError("the front server runs already")
        if self.dataplane is not None and not self.dataplane.haproxy.runs and revive:
            self.revive_haproxy()
        command = [*self._command(), "serve", *arguments]
        self._child = self.machine.start("frontserver", command, log=self.log, environ=self.environ)
        self._wait_for("/health/ready" if ready else "/health")

    def wait_ready(self, seconds: float = 30.0) -> None:
        """Wait until HAProxy runs all that is stored."""
        self._wait_for("/health/ready", seconds)

    def kill(self) -> None:
        """SIGKILL to the control plane alone."""
        self._running.kill()

    def terminate(self) -> int:
        """SIGTERM to the control plane; its exit code."""
        return self._running.terminate()

    def restart(self) -> None:
        """Start it anew, and wait until it is ready; it is killed first if it runs."""
        if self.runs:
            self.kill()
        self.start()

    def stop(self, *, haproxy: bool = True) -> None:
        """Stop the control plane, and HAProxy by `frontserver haproxy stop`."""
        code = self.terminate()
        if code != 0:
            raise HarnessError(f"the front server ended with {code}\n{self.tail()}")
        if haproxy:
            self.end_haproxy()

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Another `frontserver` command with the same settings. Raises `HarnessError`."""
        done = self.machine.run([*self._command(), *arguments], environ=self.environ)
        if check and done.returncode != 0:
            raise HarnessError(
                f"frontserver {' '.join(arguments)} ended with {done.returncode}\n"
                f"{done.stdout}{done.stderr}"
            )
        return done

    # --- its HAProxy ---

    def kill_haproxy(self) -> int:
        """SIGKILL to HAProxy's master and workers; returns the master's process id."""
        master, workers = self.sockets.master_pid(), self.sockets.worker_pids()
        if self.dataplane is not None:
            self.dataplane.haproxy.kill()
            return master
        for pid in (master, *workers):
            kill(pid)
        return master

    def revive_haproxy(self) -> None:
        """Start HAProxy again where the front server doesn't, and its Data Plane: systemd would."""
        if self.dataplane is not None:
            self.dataplane.haproxy.restart()
            self.dataplane.restart()

    def end_haproxy(self) -> None:
        """End the HAProxy that the front server left running, as its operator does."""
        if self.dataplane is not None:
            self.dataplane.haproxy.stop()
        else:
            self.run("haproxy", "stop")

    def haproxy_pids(self) -> tuple[int, ...]:
        """Every living process of HAProxy that serves from below the state directory."""
        own = self._child.pid if self._child is not None else None
        place = self.state_dir if self.dataplane is None else self.dataplane.directory
        others = {own, self.dataplane.pid if self.dataplane is not None else None}
        return tuple(pid for pid in processes_of(place) if pid not in others and serves(pid))

    def reload_haproxy(self) -> int:
        """Reload HAProxy behind the control plane's back; the new worker's process id."""
        return self.sockets.reload()

    # --- cleaning up, and telling ---

    def clean_up(self) -> None:
        """End everything, whatever state it is in."""
        if self._child is not None:
            self._child.kill()
        sweep(self.state_dir)

    def evidence(self) -> Evidence:
        """HAProxy's configuration and maps, on disk and as it tells them."""
        if self.dataplane is not None:
            return self.dataplane.evidence()
        # Another generation may come while this one is copied.
        current = (self.config_dir / "current").resolve()
        return {".": current, **self.sockets.evidence()}

    def tail(self) -> str:
        """The end of its log."""
        return tail("frontserver", self.log)

    @property
    def _running(self) -> Program:
        if self._child is None:
            raise HarnessError("the front server was never started")
        return self._child

    def _wait_for(self, path: str, seconds: float = 30.0) -> None:
        child = self._running

        # Plain HTTP: reading the system's CAs takes longer than all the rest of a request.
        client = httpx.Client(
            trust_env=False, timeout=5, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        )

        def answers() -> bool:
            if child.exit_code is not None:
                raise HarnessError(f"serve ended with {child.exit_code}\n{child.tail()}")
            answer = client.get(f"{self.api_url}{path}")
            if answer.status_code != 200:
                raise NotYet(answer.text[:500])
            return True

        with client:
            until(
                f"{path} answers 200",
                answers,
                seconds=seconds,
                quiet=(httpx.HTTPError, NotYet),
                detail=child.tail,
            )

    def _command(self) -> list[str]:
        return [self.machine.program("frontserver")]


def _driving(dataplane: DataPlane | None) -> dict[str, str]:
    """The settings of how HAProxy is driven."""
    if dataplane is None:
        return {"FRONTSERVER_BACKEND": "file"}
    return {
        "FRONTSERVER_BACKEND": "dataplane",
        "FRONTSERVER_DATAPLANE_URL": dataplane.url,
        "FRONTSERVER_DATAPLANE_USER": dataplane.user,
        "FRONTSERVER_DATAPLANE_PASSWORD": dataplane.password,
    }


class NotYet(Exception):  # noqa: N818 - not an error: ask again
    """The front server answers, and isn't ready."""
