"""The master key file, and what is sealed with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontserver.errors import CertificateError
from frontserver.pki import sealing
from frontserver.pki.sealing import MasterKey

KEY = MasterKey(b"k" * 32)


def test_the_first_start_makes_a_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "state" / "master.key"
    made = MasterKey.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == made.secret
    assert [path] == list(path.parent.iterdir())  # No draft is left behind.


def test_the_mode_is_0600_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        MasterKey.load_or_create(tmp_path / "master.key")
    finally:
        os.umask(before)
    assert (tmp_path / "master.key").stat().st_mode & 0o777 == 0o600


def test_later_starts_read_the_same_key(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    assert MasterKey.load_or_create(path) == MasterKey.load_or_create(path)


def test_two_installations_have_different_keys(tmp_path: Path) -> None:
    assert MasterKey.load_or_create(tmp_path / "a") != MasterKey.load_or_create(tmp_path / "b")


def test_a_key_that_another_process_made_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    theirs = MasterKey.load_or_create(path)
    sealing._create(path, b"o" * 32)
    assert MasterKey.load_or_create(path) == theirs


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "master.key"
    MasterKey.load_or_create(path)
    path.chmod(mode)
    with pytest.raises(CertificateError, match=f"mode {mode:04o}.*chmod 600"):
        MasterKey.load_or_create(path)


@pytest.mark.parametrize("length", [0, 31, 33, 4096])
def test_a_file_of_another_length_is_refused_and_kept(tmp_path: Path, length: int) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(b"x" * length)
    path.chmod(0o600)
    with pytest.raises(CertificateError, match=r"exactly 32 bytes.*backup"):
        MasterKey.load_or_create(path)
    assert path.read_bytes() == b"x" * length


def test_a_pipe_is_no_master_key_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "master.key", 0o600)
    with pytest.raises(CertificateError, match="not a regular file"):
        MasterKey.load_or_create(tmp_path / "master.key")


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CertificateError, match="can't be read"):
        MasterKey.load_or_create(tmp_path / "file" / "master.key")


def test_a_directory_that_takes_no_file_is_refused() -> None:
    with pytest.raises(CertificateError, match=r"can't be made.*FRONTSERVER_MASTER_KEY_FILE"):
        MasterKey.load_or_create(Path("/proc/frontserver/master.key"))


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(CertificateError, match="32 bytes, not 16"):
        MasterKey(b"x" * 16)


def test_the_secret_is_not_shown() -> None:
    assert repr(KEY) == "MasterKey(…)"


@given(plaintext=st.binary(max_size=200), context=st.text(max_size=20))
def test_what_is_sealed_opens_again(plaintext: bytes, context: str) -> None:
    assert plaintext == KEY.open(KEY.seal(plaintext, context=context), context=context)


def test_the_same_plaintext_is_sealed_differently_each_time() -> None:
    assert KEY.seal(b"x", context="c") != KEY.seal(b"x", context="c")


@given(position=st.integers(0, 28 + len("secret")), bit=st.integers(0, 7))
def test_any_changed_bit_is_noticed(position: int, bit: int) -> None:
    sealed = bytearray(KEY.seal(b"secret", context="ca key"))
    sealed[position] ^= 1 << bit
    with pytest.raises(CertificateError):
        KEY.open(bytes(sealed), context="ca key")


@pytest.mark.parametrize("length", [0, 1, 28])
def test_a_cut_seal_is_noticed(length: int) -> None:
    with pytest.raises(CertificateError, match="damaged"):
        KEY.open(KEY.seal(b"", context="c")[:length], context="c")


def test_a_seal_opens_in_its_own_context_only() -> None:
    sealed = KEY.seal(b"secret", context="key of a1")
    with pytest.raises(CertificateError, match="doesn't open"):
        KEY.open(sealed, context="key of a2")


def test_another_master_key_does_not_open_it() -> None:
    with pytest.raises(CertificateError, match=r"doesn't open.*restore"):
        MasterKey(b"o" * 32).open(KEY.seal(b"secret", context="c"), context="c")
