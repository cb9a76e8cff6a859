"""Maps of the running worker, and their files brought in step with them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from harness.dataplane_double.errors import ApiError, PanicError
from harness.dataplane_double.files import file_name
from harness.dataplane_double.runtime import Runtime

Json = dict[str, Any]

# Up to so many bytes a payload is added to the map; a longer one takes its place.
_PAYLOAD = 8192


class RuntimeMaps:
    """A map is called by the name of its file in `directory`."""

    def __init__(self, runtime: Runtime, directory: Path) -> None:
        self._runtime = runtime
        self._directory = directory

    def all(self, *, unmanaged: bool) -> list[Json]:
        """The maps that HAProxy has loaded, with those of other directories if `unmanaged`."""
        found = []
        for loaded in self._loaded():
            file = Path(loaded["file"])
            if file.parent.is_relative_to(self._directory):
                found.append(loaded | {"storage_name": file.name})
            elif unmanaged:
                found.append(loaded)
        return found

    def one(self, name: str) -> Json:
        """One map. Raises `ApiError`."""
        path = self._path(name)
        for loaded in self._loaded():
            if loaded["file"] == path:
                return loaded
        raise self._runtime.refusal(f"{path} not found", 404)

    def entries(self, name: str) -> list[Json]:
        """All entries with their ids. Raises `ApiError`."""
        return self._entries(self._path(name))

    def entry(self, name: str, key: str) -> Json:
        """One entry. Raises `ApiError`."""
        answer = self._ask(f"get map {self._path(name)} {key}", 404)
        pairs = (part.strip().partition("=") for part in answer.split(","))
        values = {word: value.strip('"') for word, _, value in pairs}
        # HAProxy may answer with another key that matches.
        if values.get("key") != key or not values.get("value"):
            raise self._runtime.refusal(f"{key} not found", 404)
        return {"key": key, "value": values["value"]}

    def add(self, name: str, key: str, value: str) -> None:
        """Add an entry. Raises `ApiError`."""
        try:
            self.entry(name, key)
        except ApiError:
            self._ask(f"add map {self._path(name)} {key} {value}", 400)
        else:
            raise self._runtime.refusal("already exists", 409)

    def set(self, name: str, key: str, value: str) -> Json:
        """Change an entry. Raises `ApiError`."""
        self._ask(f"set map {self._path(name)} {key} {value}", 404)
        return self.entry(name, key)

    def delete(self, name: str, key: str) -> None:
        """Delete an entry. Raises `ApiError`."""
        self._ask(f"del map {self._path(name)} {key}", 404)

    def clear(self, name: str) -> None:
        """Delete all entries. Raises `ApiError`."""
        self._ask(f"clear map {self._path(name)}", 404)

    def put(self, name: str, entries: list[Json]) -> None:
        """Add many entries, or replace all by them if they are long. Raises `ApiError`."""
        if not entries:
            raise PanicError("runtime error: index out of range [0] with length 0")
        path = self._path(name)
        parts = _payloads(entries)
        if len(parts) == 1:
            self._ask(f"add map {path} <<\n{parts[0]}\n", 400)
            return
        version = self._ask(f"prepare map {path}", 400).rpartition(":")[2].strip()
        for part in parts:
            self._ask(f"add map @{version} {path} <<\n{part}\n", 400)
        self._ask(f"commit map @{version} {path}", 400)

    def sync(self, name: str) -> None:
        """Write what HAProxy has to the map's file, in the order of the keys, if it differs.

        Raises `ApiError`; what was changed in HAProxy stays changed.
        """
        loaded = self.one(name)
        path = Path(loaded["file"])
        try:
            written = sorted(_lines(path.read_text()))
            entries = self._entries(f"#{loaded['id']}")
            running = sorted((entry["key"], entry["value"]) for entry in entries)
            if written != running:
                _write_in_place(path, running)
        except OSError as error:
            raise ApiError(500, f"error reading map file: {path} {error}") from error

    def _loaded(self) -> list[Json]:
        rows = (line.split(" ", 2) for line in self._ask("show map", 404).splitlines())
        return [
            {"id": row[0], "file": row[1].strip("()"), "description": row[2]}
            for row in rows
            if len(row) == 3 and row[0] != "#"
        ]

    def _entries(self, path: str) -> list[Json]:
        rows = (line.split() for line in self._ask(f"show map {path}", 404).splitlines())
        return [{"id": row[0], "key": row[1], "value": row[2]} for row in rows if len(row) > 2]

    def _path(self, name: str) -> str:
        if name.startswith("#"):
            return name
        file = file_name(name)
        return str(self._directory / (file if file.endswith(".map") else f"{file}.map"))

    def _ask(self, command: str, status: int) -> str:
        words = " not found" if status == 404 else " general error"
        return self._runtime.ask(command, status=status, words=words)


def _lines(text: str) -> list[tuple[str, str]]:
    rows = (line.split() for line in text.splitlines() if not line.lstrip().startswith("#"))
    return [(row[0], row[1]) for row in rows if len(row) > 1]


def _write_in_place(path: Path, entries: list[tuple[str, str]]) -> None:
    """As the real one does: two at once leave lines twice, and who reads meanwhile finds half."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_TRUNC)
    try:
        for key, value in entries:
            os.write(file, f"{key} {value}\n".encode())
    finally:
        os.close(file)


def _payloads(entries: list[Json]) -> list[str]:
    parts = [""]
    for entry in entries:
        line = f"{entry['key']} {entry['value']}\n"
        if len(parts[-1]) + len(line) > _PAYLOAD:
            parts.append("")
        parts[-1] += line
    return parts
