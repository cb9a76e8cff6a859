"""`dataplaneapi.yml`, as far as the double heeds it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
from ruamel.yaml import YAML

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Tls(msgspec.Struct, frozen=True):
    """Where it listens with TLS; with `ca` clients need a certificate, and nothing else."""

    host: str
    port: int
    certificate: str
    key: str
    ca: str | None


class Settings(msgspec.Struct, frozen=True):
    """Paths are absolute; times are in seconds."""

    host: str
    port: int
    tls: Tls | None
    users: dict[str, str]
    config: Path
    haproxy: Path
    master_socket: Path
    transactions: Path
    max_transactions: int
    maps: Path
    certificates: Path
    general: Path
    check_before: tuple[Path, ...]
    check_after: tuple[Path, ...]
    reload_delay: float
    reload_command: str
    status_command: str
    start_patience: float
    start_tick: float


def read_settings(path: Path) -> Settings:
    """The settings in a file as the real program reads it. Raises `KeyError`."""
    document: dict[str, Any] = YAML(typ="safe").load(path)
    api, driven = document["dataplaneapi"], document["haproxy"]
    resources, reload = api["resources"], driven["reload"]
    transaction = api["transaction"]
    if not (driven.get("master_worker_mode") and driven.get("master_runtime")):
        raise KeyError("the double drives HAProxy over `haproxy.master_runtime` only")
    return Settings(
        host=api.get("host", "localhost"),
        port=api.get("port", 0),
        tls=_tls(api),
        users={user["name"]: user["password"] for user in api["user"]},
        config=Path(driven["config_file"]),
        haproxy=Path(driven["haproxy_bin"]),
        master_socket=Path(driven["master_runtime"]),
        transactions=Path(transaction["transaction_dir"]),
        max_transactions=transaction.get("max_open_transactions", 20),
        maps=Path(resources["maps_dir"]),
        certificates=Path(resources["ssl_certs_dir"]),
        general=Path(resources["general_storage_dir"]),
        check_before=tuple(Path(name) for name in reload.get("validate_files_before") or ()),
        check_after=tuple(Path(name) for name in reload.get("validate_files_after") or ()),
        # As the real one: nothing is five seconds.
        reload_delay=float(reload.get("reload_delay") or 5),
        reload_command=reload["reload_cmd"],
        status_command=reload.get("status_cmd", ""),
        start_patience=_seconds(driven.get("delayed_start_max", "30s")),
        start_tick=_seconds(driven.get("delayed_start_tick", "500ms")),
    )


def _tls(api: dict[str, Any]) -> Tls | None:
    if "https" not in api.get("scheme", ()):
        return None
    tls = api["tls"]
    return Tls(
        host=tls["tls_host"],
        port=tls["tls_port"],
        certificate=tls["tls_certificate"],
        key=tls["tls_key"],
        ca=tls.get("tls_ca"),
    )


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+)(ms|s|m|h)", text)
    if match is None:
        raise KeyError(f"{text!r} isn't a duration such as `30s`")
    return int(match[1]) * _UNITS[match[2]]
