"""Files that the Data Plane stores for HAProxy: maps, certificates, crt-lists, others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from harness.dataplane_double.document import Document
from harness.dataplane_double.errors import ApiError, PanicError, absent, present
from harness.dataplane_double.files import file_name, replace

Json = dict[str, Any]


class Folder:
    """The files of one kind, described by `words`."""

    def __init__(self, directory: Path, words: str, *, ending: str = "") -> None:
        self.directory = directory
        self._words = words
        self._ending = ending

    def all(self) -> list[Json]:
        """What is there."""
        return [self.told(path) for path in sorted(self.directory.iterdir()) if self._mine(path)]

    def path(self, name: str) -> Path:
        """Where a file is. Raises `ApiError`."""
        path = self.directory / file_name(name)
        if not path.exists():
            raise absent(f"file {path.name} doesn't exist in dir: {self.directory}")
        return path

    def create(self, name: str, data: bytes) -> Path:
        """Store a new file. Raises `ApiError`."""
        path = self.directory / self._named(file_name(name))
        if path.exists():
            raise present(f"file {path} already exists")
        replace(path, self._accepted(data))
        return path

    def replace(self, name: str, data: bytes) -> Path:
        """Store other content. Raises `ApiError`."""
        path = self.path(name)
        replace(path, self._accepted(data))
        return path

    def delete(self, name: str, known: Document) -> None:
        """Delete a file that the configuration doesn't name. Raises `ApiError`."""
        path = self.path(name)
        for number, line in enumerate(known.render().splitlines()):
            if str(path) in line and not line.lstrip().startswith("#"):
                raise ApiError(
                    409,
                    f"rejecting attempt to delete file {path} referenced in haproxy conf "
                    f"at line {number - 1}: {line.strip()}",
                )
        path.unlink()

    def told(self, path: Path, **more: Any) -> Json:
        """What is told of a file."""
        return {
            "file": str(path),
            "description": self._words,
            "storage_name": path.name,
            **more,
        }

    def _named(self, name: str) -> str:
        return name if name.endswith(self._ending) else f"{name}{self._ending}"

    def _mine(self, path: Path) -> bool:
        return path.is_file()

    def _accepted(self, data: bytes) -> bytes:
        return data


class CrtLists(Folder):
    """Crt-lists; they lie beside the certificates and are told from them by `.txt`."""

    def create(self, name: str, data: bytes) -> Path:
        if not data:
            raise PanicError("runtime error: index out of range [-1]")
        return super().create(name, data)

    def _mine(self, path: Path) -> bool:
        return path.suffix == ".txt"

    def _accepted(self, data: bytes) -> bytes:
        return data if data.endswith(b"\n") else data + b"\n"


class Certificates(Folder):
    """PEM files with a certificate and a key; nobody looks whether the two belong together."""

    def described(self, path: Path) -> Json:
        """What is told of a certificate. Raises `ApiError`."""
        data = path.read_bytes()
        leaf = x509.load_pem_x509_certificates(data)[0]
        more: Json = {
            "size": len(data),
            "subject": _common_name(leaf.subject),
            "issuers": _common_name(leaf.issuer),
            "serial": str(leaf.serial_number),
            "not_before": f"{leaf.not_valid_before_utc:%Y-%m-%dT%H:%M:%S.000Z}",
            "not_after": f"{leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%S.000Z}",
        }
        try:
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return self.told(path, **more)
        if domains := names.get_values_for_type(x509.DNSName):
            more["domains"] = ", ".join(domains)
        if addresses := names.get_values_for_type(x509.IPAddress):
            more["ip_addresses"] = ", ".join(str(address) for address in addresses)
        return self.told(path, **more)

    def _mine(self, path: Path) -> bool:
        try:
            self._accepted(path.read_bytes())
        except ApiError:
            return False
        return True

    def _accepted(self, data: bytes) -> bytes:
        try:
            x509.load_pem_x509_certificates(data)
        except ValueError as error:
            raise ApiError(500, "failed to parse certificate") from error
        try:
            load_pem_private_key(data[data.index(b"-----BEGIN ", _end(data)) :], None)
        except (ValueError, TypeError) as error:
            words = "file should contain both certificate and private key"
            raise ApiError(500, words) from error
        return data


def _end(data: bytes) -> int:
    """Where to look for the key: behind the certificates, or at the start if it stands there."""
    key = data.find(b"PRIVATE KEY-----")
    return max(data.rfind(b"-----BEGIN ", 0, key), 0)


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""
