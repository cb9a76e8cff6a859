"""mongod: dry runs and rotation, against a stand-in and against the real one."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from frontserver.agent import Client, LocalError, mongod
from frontserver.agent.certs import CertificateDirectory
from frontserver.agent.configure import configure, find_binary
from frontserver.errors import CertificateError
from frontserver.wire.certificates import MongoNetTls
from tests.unit.agent.fakes import AGENT, DOMAIN, KEY, URL, Authority, FrontServer, serial

NOW = datetime.now(UTC)
REAL = Path(sys.prefix) / "lib" / f"python3.{sys.version_info.minor}" / (
    "site-packages/fiftyone/db/bin/mongod"
)  # fmt: skip


def _runs(binary: Path) -> bool:
    try:
        return (
            subprocess.run([binary, "--version"], capture_output=True, check=False).returncode == 0
        )
    except OSError:
        return False


real_mongod = [
    pytest.mark.slow,
    pytest.mark.skipif(not _runs(REAL), reason="no mongod here (install frontserver[demo])"),
]


class Host:
    """An agent's host with fetched certificates."""

    def __init__(self, path: Path) -> None:
        self.server = FrontServer(Authority(NOW))
        self.directory = CertificateDirectory(path / "ssl")
        self.config_file = path / "mongod.conf"
        self.client = Client(URL, AGENT, key=KEY, transport=self.server.transport)
        self.fetch()

    def fetch(self) -> None:
        self.directory.fetch(self.client)

    @property
    def tls(self) -> MongoNetTls:
        return MongoNetTls(
            certificate_key_file=str(self.directory.key_pem_file),
            ca_file=str(self.directory.ca_file),
        )

    def configure(self, binary: Path | None = None) -> object:
        return configure(
            self.config_file, self.client.config(), self.directory, binary=binary, now=NOW
        )


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    with host.client:
        yield host


def stand_in(path: Path, script: str) -> Path:
    """An executable in mongod's place; `$2` is the configuration."""
    binary = path / "mongod"
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(0o755)
    return binary


# -- configure ------------------------------------------------------------------------------------


def test_configure_keeps_a_backup_the_mode_and_the_symlink(host: Host, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere.conf"
    real.write_text("net:\n  port: 27017\n")
    real.chmod(0o640)
    host.config_file.symlink_to(real)
    done = host.configure()
    assert host.config_file.is_symlink()
    assert f"CAFile: {host.directory.ca_file}" in real.read_text()
    assert f"certificateKeyFile: {host.directory.key_pem_file}" in real.read_text()
    (backup,) = tmp_path.glob("*.bak")
    assert backup.read_text() == "net:\n  port: 27017\n"
    assert backup.name == f"elsewhere.conf.{NOW:%Y%m%dT%H%M%SZ}.bak"
    assert {p.stat().st_mode & 0o777 for p in (real, backup)} == {0o640}
    assert (done.changed, done.backup) == (True, backup)  # type: ignore[attr-defined]


def test_configure_twice_changes_once(host: Host, tmp_path: Path) -> None:
    host.config_file.write_text("net: {}\n")
    host.configure()
    inode = host.config_file.stat().st_ino
    done = host.configure()
    assert (done.changed, done.backup) == (False, None)  # type: ignore[attr-defined]
    assert host.config_file.stat().st_ino == inode
    assert len(list(tmp_path.glob("*.bak"))) == 1


def test_configure_wants_certificates_that_work(host: Host) -> None:
    host.config_file.write_text("net: {}\n")
    host.directory.ca_file.write_text(Authority(NOW).pem)
    with pytest.raises(CertificateError, match="wasn't issued"):
        host.configure()
    host.directory.ca_file.unlink()
    with pytest.raises(CertificateError, match="certs fetch"):
        host.configure()
    assert host.config_file.read_text() == "net: {}\n"


def test_configure_wants_a_readable_configuration(host: Host) -> None:
    with pytest.raises(LocalError, match="doesn't exist"):
        host.configure()
    host.config_file.write_bytes(b"\xff\xfe")
    with pytest.raises(LocalError, match="UTF-8"):
        host.configure()


def test_a_configuration_that_mongod_refuses_is_not_put_in_place(
    host: Host, tmp_path: Path
) -> None:
    host.config_file.write_text("nett: {}\n")
    binary = stand_in(tmp_path, 'echo "Unrecognized option: nett"; exit 2')
    with pytest.raises(LocalError, match="Unrecognized option: nett"):
        host.configure(binary)
    assert host.config_file.read_text() == "nett: {}\n"
    assert list(tmp_path.glob("*.bak")) == []


# -- the binary -------------------------------------------------------------------------------


def test_a_binary_is_found_on_the_path_or_where_it_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = stand_in(tmp_path, "")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert find_binary(None) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_binary(None) == binary
    assert find_binary("none") is None
    assert find_binary(str(binary)) == binary
    with pytest.raises(LocalError, match="not an executable"):
        find_binary(str(tmp_path / "nothing"))


LOG = (
    r"""echo '{"s":"I","msg":"starting"}'; echo '{"s":"E","msg":"Bad","attr":{"code":1}}'; """
    "echo trailing; exit 1"
)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (LOG, 'start with these settings: Bad {"code":1}'),
        ("echo 'bad end line'; exit 1", "bad end line"),
        ("exit 1", "no reason given"),
    ],
)
def test_a_dry_run_that_ends_tells_mongods_reason(
    host: Host, tmp_path: Path, script: str, reason: str
) -> None:
    with pytest.raises(LocalError, match=reason):
        mongod.dry_run(stand_in(tmp_path, script), host.tls, DOMAIN)


def test_a_port_that_was_taken_meanwhile_is_replaced_by_another(host: Host, tmp_path: Path) -> None:
    binary = stand_in(tmp_path, f"grep port: $2 >>{tmp_path}/ports; echo Address already in use")
    with pytest.raises(LocalError, match="no free port"):
        mongod.dry_run(binary, host.tls, DOMAIN)
    assert len((tmp_path / "ports").read_text().splitlines()) == 3


def test_a_binary_that_cannot_run_is_reported(host: Host, tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="can't run"):
        mongod.dry_run(tmp_path / "nothing", host.tls, DOMAIN)
    with pytest.raises(LocalError, match="can't run"):
        mongod.check_options(tmp_path / "nothing", "")


# -- the real mongod --------------------------------------------------------------------------


class TestRealMongod:
    """With the mongod of the `demo` extra."""

    pytestmark = real_mongod

    def test_good_settings_pass_the_dry_run(self, host: Host) -> None:
        host.config_file.write_text("net:\n  port: 27017\n  bindIp: 10.0.0.1\n")
        done = host.configure(REAL)
        assert done.tried == REAL  # type: ignore[attr-defined]
        assert "requireTLS" in host.config_file.read_text()

    def test_a_misspelt_key_is_found(self, host: Host) -> None:
        host.config_file.write_text("net:\n  bindIpp: 10.0.0.1\n")
        with pytest.raises(LocalError, match="bindIpp"):
            host.configure(REAL)
        assert host.config_file.read_text() == "net:\n  bindIpp: 10.0.0.1\n"

    def test_a_key_file_without_its_key_is_found(self, host: Host) -> None:
        host.directory.key_pem_file.write_text(host.server.cert)
        with pytest.raises(LocalError, match="mongod doesn't start"):
            mongod.dry_run(REAL, host.tls, DOMAIN)

    def test_a_leaf_of_another_ca_is_found_though_mongod_starts_with_it(self, host: Host) -> None:
        host.directory.ca_file.write_text(Authority(NOW).pem)
        with pytest.raises(LocalError, match="a client that trusts"):
            mongod.dry_run(REAL, host.tls, DOMAIN)

    def test_a_wrong_name_is_found(self, host: Host) -> None:
        with pytest.raises(LocalError, match=r"refuses a2\.mongodb"):
            mongod.dry_run(REAL, host.tls, "a2.mongodb.example.com")

    def test_rotation_serves_the_new_certificate_and_keeps_connections(
        self, host: Host, tmp_path: Path
    ) -> None:
        pymongo = pytest.importorskip("pymongo")
        with _serving(host, tmp_path) as port:
            uri = f"mongodb://localhost:{port}/"
            with pymongo.MongoClient(
                uri, tls=True, tlsCAFile=str(host.directory.ca_file), directConnection=True
            ) as open_client:
                open_client.admin.command("ping")
                before = _served(port, host.directory.ca_file)
                host.server.renew()
                host.fetch()
                assert _served(port, host.directory.ca_file) == before
                mongod.rotate(uri, host.directory.ca_file)
                assert _served(port, host.directory.ca_file) == serial(host.server.cert) != before
                open_client.admin.command("ping")

    def test_a_mongod_that_refuses_is_reported(self, host: Host, tmp_path: Path) -> None:
        pytest.importorskip("pymongo")
        with _serving(host, tmp_path) as port:
            host.directory.key_pem_file.write_text("junk")
            with pytest.raises(LocalError, match="didn't rotate"):
                mongod.rotate(f"mongodb://localhost:{port}/", host.directory.ca_file)


def test_a_mongod_that_is_not_there_is_reported(tmp_path: Path) -> None:
    pytest.importorskip("pymongo")
    with pytest.raises(LocalError, match="check --rotate"):
        mongod.rotate("mongodb://127.0.0.1:1/?tls=false&serverSelectionTimeoutMS=50", tmp_path)
    with pytest.raises(LocalError, match="check --rotate"):
        mongod.rotate("nonsense", tmp_path)


def test_without_pymongo_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pymongo", None)
    with pytest.raises(LocalError, match=r"install frontserver\[mongodb\]"):
        mongod.rotate("mongodb://localhost", tmp_path)


class _serving:  # noqa: N801 - read as a verb in `with`
    """A mongod with the host's settings, until the block ends; gives its port."""

    def __init__(self, host: Host, path: Path) -> None:
        data = path / "db"
        data.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._command = [
            str(REAL), "--bind_ip", "127.0.0.1", "--port", str(self._port),
            "--dbpath", str(data), "--nounixsocket", "--tlsMode", host.tls.mode,
            "--tlsCertificateKeyFile", host.tls.certificate_key_file,
            "--tlsCAFile", host.tls.ca_file, "--tlsAllowConnectionsWithoutCertificates",
        ]  # fmt: skip

    def __enter__(self) -> int:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return self._port
        self.__exit__()
        raise AssertionError("mongod doesn't listen")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(15)


def _served(port: int, ca_file: Path) -> int:
    context = ssl.create_default_context(cafile=ca_file)
    with (
        socket.create_connection(("127.0.0.1", port), 5) as raw,
        context.wrap_socket(raw, server_hostname=DOMAIN) as tls,
    ):
        der = tls.getpeercert(binary_form=True)
    assert der is not None
    return serial(ssl.DER_cert_to_PEM_cert(der))
