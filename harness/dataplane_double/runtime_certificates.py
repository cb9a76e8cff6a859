"""Certificates, CA files and crt-lists of the running worker."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from harness.dataplane_double.errors import ApiError
from harness.dataplane_double.runtime import Runtime

Json = dict[str, Any]

_CERTIFICATE = {
    "Status": "status",
    "Serial": "serial",
    "Subject Alternative Name": "subject_alternative_names",
    "Algorithm": "algorithm",
    "SHA1 FingerPrint": "sha1_finger_print",
    "Subject": "subject",
    "Issuer": "issuers",
    "Chain Subject": "chain_subject",
    "Chain Issuer": "chain_issuer",
}
_DATES = {"notBefore": "not_before", "notAfter": "not_after"}


class RuntimeCertificates:
    """Names are those that HAProxy knows: for what the configuration loads, whole paths.

    A PEM is said as it is, followed by an empty line; if it doesn't end in a line end itself, or if
    a CA file has no empty line at its end, HAProxy waits for more until it hangs up, and everybody
    else waits for that.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    # --- certificates ---

    def all(self) -> list[Json]:
        """All certificates. Raises `ApiError`."""
        names, ignored = [], False
        for line in self._ask("show ssl cert", 404).splitlines():
            if line.startswith("#"):
                ignored = line.startswith("# transaction")
            elif line.strip() and not ignored:
                names.append(line.strip().removeprefix("\\"))
        return [{"storage_name": name, "description": name.rpartition("/")[2]} for name in names]

    def one(self, name: str) -> Json:
        """One certificate. Raises `ApiError`."""
        answer = self._ask(f"show ssl cert {name}", 404)
        found: Json = {"storage_name": name}
        for line in answer.splitlines():
            word, _, value = line.partition(": ")
            if word in _CERTIFICATE:
                found[_CERTIFICATE[word]] = value
            elif word in _DATES:
                moment = datetime.strptime(value, "%b %d %H:%M:%S %Y %Z").replace(tzinfo=UTC)
                found[_DATES[word]] = f"{moment:%Y-%m-%dT%H:%M:%S.000Z}"
        return found

    def create(self, name: str, pem: str) -> None:
        """A new certificate, not served yet. Raises `ApiError`."""
        self._expect(f"new ssl cert {name}", "New empty certificate store")
        self.replace(name, pem)

    def replace(self, name: str, pem: str) -> None:
        """Another certificate of the same name, served at once. Raises `ApiError`."""
        self._payload(f"set ssl cert {name} <<\n{pem}\n")
        self._expect(f"commit ssl cert {name}", "Success!")

    def delete(self, name: str) -> None:
        """Delete a certificate that no list has. Raises `ApiError`."""
        self._expect(f"del ssl cert {name}", "deleted!")

    # --- CA files ---

    def ca_files(self) -> list[Json]:
        """All CA files with how many certificates they hold. Raises `ApiError`."""
        rows = (line.partition(" - ") for line in self._ask("show ssl ca-file", 404).splitlines())
        return [
            {"storage_name": name.strip(), "count": count.strip()}
            for name, dash, count in rows
            if dash and not name.startswith(("#", "*"))
        ]

    def ca_file(self, name: str) -> Json:
        """One CA file. Raises `ApiError`."""
        for found in self.ca_files():
            if found["storage_name"] == name:
                return found
        raise self._runtime.refusal(f"{name} not found", 404)

    def create_ca_file(self, name: str, pem: str) -> None:
        """A new CA file. Raises `ApiError`."""
        self._expect(f"new ssl ca-file {name}", "New CA file created")
        self.replace_ca_file(name, pem)

    def replace_ca_file(self, name: str, pem: str) -> None:
        """Other certificates in a CA file. Raises `ApiError`."""
        self._payload(f"set ssl ca-file {name} <<\n{pem}")
        self._expect(f"commit ssl ca-file {name}", "Success!")

    def add_to_ca_file(self, name: str, pem: str) -> None:
        """More certificates in a CA file. Raises `ApiError`."""
        self._payload(f"add ssl ca-file {name} <<\n{pem}\n")
        self._expect(f"commit ssl ca-file {name}", "Success!")

    def delete_ca_file(self, name: str) -> None:
        """Delete a CA file that nothing uses. Raises `ApiError`."""
        self._expect(f"del ssl ca-file {name}", "deleted!")

    # --- crt-lists ---

    def lists(self) -> list[Json]:
        """All crt-lists. Raises `ApiError`."""
        lines = self._ask("show ssl crt-list", 404).splitlines()
        return [{"file": line} for line in lines if line]

    def entries(self, crt_list: str) -> list[Json]:
        """The entries of a crt-list. Raises `ApiError`."""
        return read_entries(self._ask(f"show ssl crt-list -n {crt_list}", 404))

    def add_entry(self, crt_list: str, entry: Json) -> None:
        """Serve a certificate. Raises `ApiError`.

        With options or filters it hangs as a PEM without a line end does.
        """
        line = entry["file"]
        if options := entry.get("ssl_bind_config"):
            line += f" [{options}]"
        if filters := entry.get("sni_filter"):
            line += f" {' '.join(filters)}"
        payload = "<<\n" if line != entry["file"] else ""
        self._expect(f"add ssl crt-list {crt_list} {payload}{line}\n", "Success")

    def delete_entry(self, crt_list: str, file: str, number: int | None) -> None:
        """Serve a certificate no longer. Raises `ApiError`."""
        name = file if number is None else f"{file}:{number}"
        command = f"del ssl crt-list {crt_list} {name}"
        answer = self._ask(command, 404)
        if "deleted in crtlist" not in answer:
            raise self._runtime.refusal(f"{answer} general error", 500)

    # --- saying it ---

    def _payload(self, command: str) -> None:
        answer = self._ask(command, 500)
        if not any(word in answer.lower() for word in ("transaction created", "transaction upd")):
            raise self._runtime.refusal(f"{answer} general error", 500)

    def _expect(self, command: str, words: str) -> None:
        answer = self._ask(command, 500)
        if words not in answer:
            raise self._runtime.refusal(f"{answer} general error", 500)

    def _ask(self, command: str, status: int) -> str:
        words = " not found" if status == 404 else " general error"
        return self._runtime.ask(command, status=status, words=words)


def read_entries(text: str) -> list[Json]:
    """The entries of a crt-list, from its file or as HAProxy shows it. Raises `ApiError`."""
    lines = [line.strip() for line in text.splitlines()]
    if not any(lines):
        raise ApiError(404, "not found")
    return [_entry(line) for line in lines if line and not line.startswith("#")]


def _entry(line: str) -> Json:
    first, _, rest = line.partition(" ")
    file, _, number = first.partition(":")
    entry: Json = {"file": file} | ({"line_number": int(number)} if number else {})
    if rest.startswith("["):
        options, _, rest = rest[1:].partition("]")
        entry["ssl_bind_config"] = options
    if filters := rest.split():
        entry["sni_filter"] = filters
    return entry
