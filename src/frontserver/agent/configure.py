"""`mongod configure`: merge, try out, keep a backup, replace."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

import msgspec

from frontserver.agent import files, mongod
from frontserver.agent.certs import CertificateDirectory
from frontserver.agent.errors import LocalError
from frontserver.agent.files import NewFile, Owner
from frontserver.agent.mongodconf import merge
from frontserver.wire.certificates import AgentConfig


class Configured(msgspec.Struct, frozen=True, kw_only=True):
    """What `configure` did. `tried` is the mongod binary of the dry run, if there was one."""

    changed: bool
    backup: Path | None
    tried: Path | None
    remarks: tuple[str, ...]


def configure(
    path: Path,
    config: AgentConfig,
    directory: CertificateDirectory,
    *,
    binary: Path | None,
    now: datetime,
) -> Configured:
    """Merge the server's `net.tls`, with this host's paths, into the mongod.conf at `path`.

    Nothing is replaced before the certificate files were checked, the merged text was read
    back and (with a `binary`) mongod started with it and a client's handshake succeeded.
    Raises `LocalError` or `CertificateError`.
    """
    path = path.resolve()  # A symlink stays one.
    old = files.read(path)
    if old is None:
        raise LocalError(f"{path} doesn't exist", hint="name mongod's file with --config")
    domain = config.domains.mongodb
    directory.check(domain)
    tls = msgspec.structs.replace(
        config.mongodb.net.tls,
        certificate_key_file=str(directory.key_pem_file.absolute()),
        ca_file=str(directory.ca_file.absolute()),
    )
    merged = merge(_text(path, old), tls)
    if binary is not None:
        mongod.check_options(binary, merged.text)
        mongod.dry_run(binary, tls, domain)
    backup = _replace(path, old, merged.text.encode(), now) if merged.changed else None
    return Configured(changed=merged.changed, backup=backup, tried=binary, remarks=merged.remarks)


def find_binary(choice: str | None) -> Path | None:
    """The mongod to try settings with: a path, a name on PATH, or `none`. Raises `LocalError`."""
    if choice == "none":
        return None
    found = shutil.which(choice or "mongod")
    if found is None and choice is not None:
        raise LocalError(f"{choice} is not an executable file", hint="see --check-with")
    return Path(found) if found else None


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LocalError(f"{path} isn't UTF-8 text") from error


def _replace(path: Path, old: bytes, new: bytes, now: datetime) -> Path:
    status = path.stat()
    mode = status.st_mode & 0o7777
    backup = path.with_name(f"{path.name}.{now:%Y%m%dT%H%M%SZ}.bak")
    # The owner of mongod.conf is root's to give; anybody else can only write as themselves.
    owner = Owner(status.st_uid, status.st_gid) if files.is_root() else None
    files.replace(backup, NewFile(old, mode), owner)
    files.replace(path, NewFile(new, mode), owner)
    return backup
