"""The certificate directory is brought in step with the server, or left as it was."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from frontserver.agent import Client, LocalError, UnexpectedAnswerError
from frontserver.agent.certs import CertificateDirectory
from frontserver.errors import CertificateError
from tests.unit.agent.fakes import AGENT, DAY, DOMAIN, KEY, NOW, URL, Authority, FrontServer, serial

MODES = {"ca.crt": 0o644, "server.crt": 0o644, "server.key": 0o600, "mongodb.pem": 0o600}


@pytest.fixture
def server() -> FrontServer:
    return FrontServer()


@pytest.fixture
def client(server: FrontServer) -> Iterator[Client]:
    with Client(URL, AGENT, key=KEY, transport=server.transport) as client:
        yield client


@pytest.fixture
def directory(tmp_path: Path) -> CertificateDirectory:
    return CertificateDirectory(tmp_path / "ssl" / "frontserver", now=lambda: NOW)


def content(directory: CertificateDirectory) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.path.iterdir()}


def inodes(directory: CertificateDirectory) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in directory.path.iterdir()}


def test_fetch_writes_four_files_with_their_modes(
    client: Client, server: FrontServer, directory: CertificateDirectory
) -> None:
    done = directory.fetch(client)
    assert set(done.changed) == set(MODES)
    assert done.leaf.serial == serial(server.cert)
    assert content(directory) == {
        "ca.crt": server.ca,
        "server.crt": server.cert,
        "server.key": server.key,
        "mongodb.pem": server.cert + server.key,
    }
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in directory.path.iterdir()}
    assert modes == MODES
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    assert directory.check(DOMAIN) == done.leaf


def test_unchanged_files_are_not_rewritten(
    client: Client, server: FrontServer, directory: CertificateDirectory
) -> None:
    directory.fetch(client)
    before = inodes(directory)
    assert directory.fetch(client).changed == ()
    assert inodes(directory) == before
    server.ca += Authority().pem
    assert directory.fetch(client).changed == ("ca.crt",)
    after = inodes(directory)
    assert {name for name in MODES if after[name] != before[name]} == {"ca.crt"}


def test_modes_that_were_opened_are_closed_again(
    client: Client, directory: CertificateDirectory
) -> None:
    directory.fetch(client)
    directory.path.chmod(0o755)
    (directory.path / "mongodb.pem").chmod(0o644)
    assert directory.fetch(client).changed == ("mongodb.pem",)
    assert stat.S_IMODE((directory.path / "mongodb.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700


def test_a_directory_with_other_things_in_it_keeps_its_mode(
    client: Client, directory: CertificateDirectory
) -> None:
    directory.path.mkdir(parents=True)
    directory.path.chmod(0o755)
    (directory.path / "dhparams.pem").touch()
    directory.fetch(client)
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o755


def _other_ca(server: FrontServer) -> None:
    server.ca = Authority().pem


def _other_key(server: FrontServer) -> None:
    server.key = server.authority.issue()[1]


def _expired(server: FrontServer) -> None:
    server.renew(ends=NOW - DAY)


def _other_name(server: FrontServer) -> None:
    server.renew(domain="a2.mongodb.example.com")


@pytest.mark.parametrize("spoil", [_other_ca, _other_key, _expired, _other_name])
def test_bad_answers_leave_the_old_files(
    client: Client, server: FrontServer, directory: CertificateDirectory, spoil: object
) -> None:
    directory.fetch(client)
    before = inodes(directory)
    assert callable(spoil)
    spoil(server)
    with pytest.raises(CertificateError):
        directory.fetch(client)
    assert inodes(directory) == before


def test_a_file_that_cannot_be_replaced_leaves_all_others(
    client: Client, server: FrontServer, directory: CertificateDirectory
) -> None:
    directory.fetch(client)
    (directory.path / "server.crt").unlink()
    (directory.path / "server.crt").mkdir()
    old = (directory.path / "mongodb.pem").read_text()
    server.renew()
    with pytest.raises(LocalError, match=r"server\.crt"):
        directory.fetch(client)
    assert (directory.path / "mongodb.pem").read_text() == old


def test_a_directory_that_is_incomplete_is_not_whole(
    client: Client, server: FrontServer, directory: CertificateDirectory
) -> None:
    with pytest.raises(CertificateError, match="certs fetch"):
        directory.check(DOMAIN)
    directory.fetch(client)
    (directory.path / "mongodb.pem").write_text(server.cert)
    with pytest.raises(CertificateError, match="whole set"):
        directory.check(DOMAIN)


def test_with_csr_the_key_never_leaves(
    client: Client, server: FrontServer, directory: CertificateDirectory
) -> None:
    done = directory.fetch_signed(client)
    assert done.leaf.serial == serial(server.cert)
    key = (directory.path / "server.key").read_text()
    load_pem_private_key(key.encode(), None)
    secret = key.splitlines()[1]
    assert not any(secret in request.content.decode() for request in server.requests)


def test_with_csr_a_certificate_is_kept_until_it_is_due(
    client: Client, server: FrontServer, directory: CertificateDirectory
) -> None:
    first = directory.fetch_signed(client)
    assert directory.fetch_signed(client).changed == ()
    forced = directory.fetch_signed(client, force=True)
    assert forced.leaf.serial != first.leaf.serial
    later = CertificateDirectory(directory.path, now=lambda: NOW + 51 * DAY)
    assert later.fetch_signed(client, key_kind="rsa").leaf.serial != forced.leaf.serial


def test_with_csr_a_new_ca_in_the_bundle_is_taken_and_a_replaced_one_means_a_new_certificate(
    client: Client, server: FrontServer, directory: CertificateDirectory
) -> None:
    first = directory.fetch_signed(client)
    successor = Authority()
    server.ca += successor.pem
    bundled = directory.fetch_signed(client)
    assert (bundled.changed, bundled.leaf) == (("ca.crt",), first.leaf)
    server.authority, server.ca = successor, successor.pem
    assert directory.fetch_signed(client).leaf.serial != first.leaf.serial


def test_fetch_goes_on_with_a_key_that_only_lies_here(
    client: Client, server: FrontServer, directory: CertificateDirectory
) -> None:
    directory.fetch_signed(client)
    assert directory.fetch(client).changed == ()
    for path in directory.path.iterdir():
        path.unlink()
    with pytest.raises(CertificateError, match="certs fetch --csr"):
        directory.fetch(client)


def test_a_key_in_the_answer_to_a_request_is_refused(
    client: Client, server: FrontServer, directory: CertificateDirectory
) -> None:
    class Careless:
        config = staticmethod(client.config)
        ca = staticmethod(client.ca)

        def sign(self, csr_pem: str) -> object:
            answer = client.sign(csr_pem)
            server.serves_key = True
            bundle = client.certificates()
            return type(answer)(agent_id=AGENT, certificates=bundle)

    with pytest.raises(UnexpectedAnswerError, match="with a key"):
        directory.fetch_signed(Careless())  # type: ignore[arg-type]
    assert not directory.path.exists()


def test_the_digest_follows_what_mongod_reads(
    client: Client, server: FrontServer, directory: CertificateDirectory
) -> None:
    directory.fetch(client)
    first = directory.digest()
    assert directory.digest() == first
    server.ca += Authority().pem
    directory.fetch(client)
    assert directory.digest() != first
