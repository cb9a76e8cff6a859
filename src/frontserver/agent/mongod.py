"""The mongod binary: a dry run of TLS settings, and the live rotation of its certificate."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
from ruamel.yaml import YAML

from frontserver.agent.errors import LocalError
from frontserver.wire.certificates import MongoNetTls

# `rotate(uri, ca_file)`: have mongod read its certificate files again.
Rotate = Callable[[str, Path], None]

_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.05
_PORT_ATTEMPTS = 3


def check_options(binary: Path, config_text: str) -> None:
    """Let mongod parse the whole configuration (it opens no file); raises `LocalError`."""
    with tempfile.TemporaryDirectory(prefix="frontserver-mongod-") as scratch:
        config = Path(scratch) / "mongod.conf"
        config.write_text(config_text)
        config.chmod(0o600)  # It may hold secrets.
        done = _run([str(binary), "--config", str(config), "--outputConfig"])
    if done.returncode != 0:
        raise LocalError(
            f"{binary} refuses the configuration: {_complaint(done.stdout)}",
            hint="the old configuration is unchanged",
        )


def dry_run(binary: Path, tls: MongoNetTls, domain: str) -> None:
    """Start mongod with these TLS settings on an empty database, and shake hands as a client.

    It listens on a free port of 127.0.0.1 and is stopped again. Raises `LocalError` if mongod
    doesn't start, or if a client that trusts the CA file refuses it for `domain`.
    """
    for attempt in range(1, _PORT_ATTEMPTS + 1):
        try:
            _dry_run(binary, tls, domain, _free_port())
        except _PortTaken:
            if attempt == _PORT_ATTEMPTS:
                raise LocalError("no free port for a dry run of mongod") from None
        else:
            return


class _PortTaken(Exception):  # noqa: N818 - not an error: try another port
    """Somebody else took the port between finding and using it."""


def _dry_run(binary: Path, tls: MongoNetTls, domain: str, port: int) -> None:
    with tempfile.TemporaryDirectory(prefix="frontserver-mongod-") as scratch:
        data, log = Path(scratch) / "db", Path(scratch) / "log"
        data.mkdir()
        config = Path(scratch) / "mongod.conf"
        with config.open("w") as stream:
            YAML(typ="safe").dump(_trial(tls, data, port), stream)
        with _started(binary, config, log) as process:
            _wait_for_port(process, log, port)
            _shake_hands(port, Path(tls.ca_file), domain)


def _trial(tls: MongoNetTls, data: Path, port: int) -> dict[str, Any]:
    return {
        "net": {
            "bindIp": "127.0.0.1",
            "port": port,
            "unixDomainSocket": {"enabled": False},
            "tls": msgspec.to_builtins(tls),
        },
        "storage": {"dbPath": str(data)},
        "setParameter": {
            "suppressNoTLSPeerCertificateWarning": True,
            "diagnosticDataCollectionEnabled": False,
        },
    }


@contextlib.contextmanager
def _started(binary: Path, config: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(binary), "--config", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
    except OSError as error:
        raise LocalError(f"can't run {binary}: {error.strerror}") from error
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_port(process: subprocess.Popen[bytes], log: Path, port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            output = log.read_bytes()
            if b"Address already in use" in output:
                raise _PortTaken
            raise LocalError(f"mongod doesn't start with these settings: {_complaint(output)}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(_POLL_SECONDS)
        else:
            return
    raise LocalError(f"mongod wasn't listening after {_START_SECONDS:g} s of a dry run")


def _shake_hands(port: int, ca_file: Path, domain: str) -> None:
    try:
        context = ssl.create_default_context(cafile=ca_file)
        with (
            socket.create_connection(("127.0.0.1", port), 5) as raw,
            context.wrap_socket(raw, server_hostname=domain),
        ):
            pass
    except (OSError, ssl.SSLError) as error:
        raise LocalError(f"a client that trusts {ca_file} refuses {domain}: {error}") from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_START_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LocalError(f"can't run {command[0]}: {error}") from error


def _complaint(output: bytes) -> str:
    """The last error in mongod's log (JSON lines since 4.4), else its last line of text."""
    said = ""
    for line in output.decode("utf-8", "replace").splitlines():
        if not line.strip() or line.startswith("try '"):  # "try 'mongod --help' for more"
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            said = line.strip()
            continue
        if isinstance(entry, dict) and entry.get("s") in {"E", "F"}:
            details = json.dumps(entry.get("attr", {}), separators=(",", ":"))
            return f"{entry.get('msg', '')} {details}"[:500]
    return said[:500] or "no reason given"


def rotate(uri: str, ca_file: Path) -> None:
    """Have mongod read its certificate files again; connections stay open.

    Its user needs the cluster action `rotateCertificates` (role `hostManager`). Without TLS
    options in the URI the connection uses TLS, verified against `ca_file`. Raises `LocalError`.
    """
    try:
        import pymongo  # noqa: PLC0415 - an extra; only this function needs it
        from pymongo.errors import PyMongoError  # noqa: PLC0415
    except ImportError as error:
        raise LocalError(
            "rotating mongod's certificate needs pymongo",
            hint="install frontserver[mongodb], or restart mongod instead",
        ) from error
    given = {name.lower() for name, _ in parse_qsl(urlsplit(uri).query, keep_blank_values=True)}
    options: dict[str, Any] = {"serverSelectionTimeoutMS": 5000, "directConnection": True}
    options = {name: value for name, value in options.items() if name.lower() not in given}
    if not given & {"tls", "ssl", "tlscafile"}:
        options |= {"tls": True, "tlsCAFile": str(ca_file)}
    try:
        with pymongo.MongoClient(uri, **options) as client:
            client.admin.command("rotateCertificates")
    except (PyMongoError, ValueError, OSError) as error:
        raise LocalError(
            f"mongod didn't rotate its certificate: {error}",
            hint="check --rotate, and that its user has the role hostManager",
        ) from error
