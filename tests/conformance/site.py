"""A Data Plane with a configuration to test with, and what is often asked of it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from harness.certificates import ThrowawayCa
from harness.dataplane import DataPlane
from harness.polling import until
from harness.ports import free_port
from tests.conformance.contract import hold_answer, hold_request

S = "/services/haproxy"
CONFIGURATION, RUNTIME, STORAGE = f"{S}/configuration", f"{S}/runtime", f"{S}/storage"
RAW, TRANSACTIONS, RELOADS = f"{CONFIGURATION}/raw", f"{S}/transactions", f"{S}/reloads"
BACKENDS = f"{CONFIGURATION}/backends"
MAP = f"{RUNTIME}/maps/host.map"
CRT_LIST_ENTRIES = f"{RUNTIME}/ssl_crt_lists/entries"
TEXT = {"content-type": "text/plain"}

_BASE = """\
defaults cp_defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s

frontend cp_http from cp_defaults
  bind 127.0.0.1:{http} name http
  use_backend %[req.hdr(host),field(1,:),lower,map({maps}/host.map,cp_none)]

frontend cp_https from cp_defaults
  bind 127.0.0.1:{https} name https ssl crt-list {certificates}/list.txt strict-sni
  http-request return status 200

backend cp_none from cp_defaults
  http-request return status 404

backend cp_pre from cp_defaults
  server s1 127.0.0.1:1 check disabled

backend cp_slot_1 from cp_defaults

backend cp_slot_2 from cp_defaults
"""


class Site:
    """`base` is the configuration that each test starts with.

    Frontends on `http` and `https`; the map `host.map`; the backends `cp_none` (404), `cp_slot_1`
    and `cp_slot_2` (empty), `cp_pre` (a server at port 1, disabled, with a check).
    """

    def __init__(self, dataplane: DataPlane) -> None:
        self.dataplane = dataplane
        self.files = dataplane.files
        self.http, self.https = free_port(), free_port()
        self.map_file = self.files.maps / "host.map"
        self.crt_list = self.files.certificates / "list.txt"
        self.ca = ThrowawayCa(self.files.directory / "sites")
        self._default = self.ca.issue("default.example.com").read_text()
        self.base = _BASE.format(
            http=self.http,
            https=self.https,
            maps=self.files.maps,
            certificates=self.files.certificates,
        )
        self.api = dataplane.client(contract=(hold_request, hold_answer))
        # A connection for each request: a kept one would be answered by the worker of its time.
        self._visitor = httpx.Client(
            trust_env=False,
            timeout=10,
            verify=False,  # noqa: S501 - loading CAs takes long, and it speaks plain HTTP
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    # --- the configuration ---

    def close(self) -> None:
        self.api.close()
        self._visitor.close()

    def reset(self) -> None:
        """Bring back what a test starts with, whatever the one before did.

        Both programs run, files and configuration are the first ones, there are no transactions.
        """
        if not self.dataplane.haproxy.runs:
            self.dataplane.haproxy.start()
        if not self.dataplane.runs:
            self.dataplane.start()
        for place in (self.files.maps, self.files.certificates, self.files.general):
            for file in place.iterdir():
                file.unlink()
        if self.files.pools_config is not None:
            self.files.pools_config.touch()
        self.map_file.write_text("")
        default = self.files.certificates / "default.pem"
        default.write_text(self._default)
        self.crt_list.write_text(f"{default}\n")
        for transaction in self.api.get(TRANSACTIONS).json():
            self.api.delete(f"{TRANSACTIONS}/{transaction['id']}")
        self.post(self.base).raise_for_status()

    def version(self) -> int:
        """The version in memory."""
        return int(self.api.get(f"{CONFIGURATION}/version").json())

    def disk(self) -> str:
        """The configuration on disk."""
        return self.files.config.read_text()

    def disk_version(self) -> int:
        """The version that the configuration on disk says it has."""
        line = next(line for line in self.disk().splitlines() if line.startswith("# _version="))
        return int(line.removeprefix("# _version="))

    def post(self, text: str, **query: Any) -> httpx.Response:
        """A whole configuration; forced, unless `query` says otherwise."""
        headers = {**TEXT, **query.pop("headers", {})}
        query = {"version": self.version(), **(query or {"force_reload": True})}
        query = {name: value for name, value in query.items() if value is not None}
        return self.api.post(RAW, params=query, content=text, headers=headers)

    def later(self, text: str) -> httpx.Response:
        """A whole configuration whose reload nobody forces."""
        return self.post(text, force_reload=False)

    def begin(self) -> str:
        """The id of a new transaction."""
        answer = self.api.post(TRANSACTIONS, params={"version": self.version()})
        assert answer.status_code == 201
        return str(answer.json()["id"])

    def statuses(self) -> dict[str, str]:
        """The status of each transaction that is known."""
        return {known["id"]: known["status"] for known in self.api.get(TRANSACTIONS).json()}

    # --- HAProxy ---

    def worker(self) -> int:
        """The process id of the worker."""
        return int(self.api.get(f"{RUNTIME}/info").json()["info"]["pid"])

    def runs(self, backend: str) -> bool:
        """Whether the worker knows a backend."""
        return self.api.get(f"{RUNTIME}/backends/{backend}/servers").status_code == 200

    def servers(self, backend: str) -> dict[str, dict[str, Any]]:
        """The worker's servers of a backend."""
        answer = self.api.get(f"{RUNTIME}/backends/{backend}/servers")
        assert answer.status_code == 200
        return {server["name"]: server for server in answer.json()}

    def route(self, host: str, backend: str = "cp_slot_1", *, sync: bool = False) -> httpx.Response:
        """Send a host to a backend, in the worker."""
        entry = {"key": host, "value": backend}
        return self.api.post(f"{MAP}/entries", params={"force_sync": sync}, json=entry)

    def entries(self) -> dict[str, str]:
        """The worker's entries of the map."""
        return {entry["key"]: entry["value"] for entry in self.api.get(f"{MAP}/entries").json()}

    def get(self, host: str, path: str = "/") -> int:
        """The status of a request through HAProxy, on a connection of its own."""
        url = f"http://127.0.0.1:{self.http}{path}"
        return self._visitor.get(url, headers={"Host": host}).status_code

    def served(self, name: str) -> int | None:
        """The serial of the certificate that HAProxy shows for a name, `None` without one."""
        context = ssl.create_default_context(cafile=self.ca.file)
        address = ("127.0.0.1", self.https)
        with (
            contextlib.suppress(ssl.SSLError, ConnectionResetError),
            socket.create_connection(address, timeout=10) as raw,
            context.wrap_socket(raw, server_hostname=name) as connection,
        ):
            shown = connection.getpeercert()
            assert shown is not None
            return int(str(shown["serialNumber"]), 16)
        return None

    # --- waiting ---

    def wait_for_backend(self, name: str) -> None:
        until(f"HAProxy has the backend {name}", lambda: self.runs(name))

    def wait_for_reload(self, name: str) -> dict[str, Any]:
        """What is told of a reload once it is over."""
        answer: dict[str, Any] = until(
            f"the reload {name} is over",
            lambda: known if (known := self._reload(name))["status"] != "in_progress" else None,
        )
        return answer

    def _reload(self, name: str) -> dict[str, Any]:
        answer = self.api.get(f"{RELOADS}/{name}")
        assert answer.status_code == 200
        return dict(answer.json())


@contextlib.contextmanager
def opened(
    haproxy: Path, program: Path | None, *, reset: bool = True, **options: Any
) -> Iterator[Site]:
    """A site of its own in a directory with a short path, running, and reset if wanted."""
    directory = Path(tempfile.mkdtemp(prefix="dp-"))
    try:
        # What it is asked breaks the contract at times, on purpose: the client knows when.
        options = {"watched": False, **options}
        with DataPlane(directory, haproxy=haproxy, program=program, **options) as dataplane:
            site = Site(dataplane)
            with contextlib.closing(site):
                if reset:
                    site.reset()
                yield site
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def quoted(path: Path) -> str:
    """A path as one segment of another."""
    return quote(str(path), safe="")
