"""What a Data Plane and its HAProxy read: configurations, directories, `dataplaneapi.yml`."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from harness.certificates import ThrowawayCa
from harness.evidence import Evidence
from harness.ports import free_port

OPERATOR_CONFIG = """\
# The operator's own file; nobody else writes to it.
global
    stats socket {runtime} mode 600 level admin
    log stdout format raw local0

defaults op_defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s

frontend op_site # somebody else's site
    bind 127.0.0.1:{port}
    http-request return status 200 content-type text/plain string "operator"
"""


class Files:
    """All files of one HAProxy and its Data Plane, below `directory`.

    `operator` is the text of the operator's configuration: `{runtime}` becomes the path of the
    worker's socket, `{port}` a free port, `operator_port`. HAProxy reads it from `op.cfg`, and
    `cp.cfg`, the Data Plane's, after it; with `single_file` all is in `cp.cfg`. With `pools` a
    stored file comes last, `pools_config`, empty at first.
    """

    def __init__(
        self, directory: Path, *, operator: str, single_file: bool, pools: bool = False
    ) -> None:
        self.directory = directory
        self.runtime_socket, self.master_socket = directory / "rt.sock", directory / "m.sock"
        self.maps, self.certificates = directory / "maps", directory / "ssl"
        self.general, self.transactions = directory / "general", directory / "tx"
        self.storage, self.spoe = directory / "storage", directory / "spoe"
        for place in (self.maps, self.certificates, self.general, self.transactions):
            place.mkdir(parents=True, exist_ok=True)
        for place in (self.storage, self.spoe):
            place.mkdir(exist_ok=True)
        self.operator_port = free_port()
        self.operator_config, self.config = directory / "op.cfg", directory / "cp.cfg"
        self.settings = directory / "dataplaneapi.yml"
        text = operator.replace("{runtime}", str(self.runtime_socket))
        text = text.replace("{port}", str(self.operator_port))
        if single_file:
            self.operator_config = self.config
        self.operator_config.write_text(text)
        self.config.touch()
        self.pools_config = self.general / "fs-pools.cfg" if pools else None
        if self.pools_config is not None:
            self.pools_config.touch()

    @property
    def configs(self) -> tuple[Path, ...]:
        """What HAProxy reads, in its order."""
        return (*self._before, self.config, *self._after)

    @property
    def _before(self) -> tuple[Path, ...]:
        return () if self.operator_config == self.config else (self.operator_config,)

    @property
    def _after(self) -> tuple[Path, ...]:
        return () if self.pools_config is None else (self.pools_config,)

    @property
    def last_good(self) -> Path:
        """The last configuration that HAProxy took: `cp.cfg.lkg`."""
        return self.config.with_name(f"{self.config.name}.lkg")

    def evidence(self) -> Evidence:
        """Configurations, those before the last change and of transactions too, and maps."""
        configs = self.directory.glob("*.cfg*")
        stored = (self.maps, self.general, self.transactions)
        return {path.name: path for path in (*configs, *stored)}

    def write_settings(
        self,
        *,
        haproxy: Path,
        port: int,
        user: str,
        password: str,
        reload_delay: int,
        tls: tuple[ThrowawayCa, Path] | None,
        changes: Mapping[str, Any],
    ) -> None:
        """Write `dataplaneapi.yml`; `tls` is the CA and the PEM of the API's own certificate.

        `changes` are merged into it, mapping by mapping.
        """
        document = {
            "config_version": 2,
            "name": "harness",
            "mode": "single",
            "dataplaneapi": {
                **_listening(port, tls),
                "user": [{"name": user, "password": password, "insecure": True}],
                "transaction": {"transaction_dir": str(self.transactions)},
                "resources": {
                    "maps_dir": str(self.maps),
                    "ssl_certs_dir": str(self.certificates),
                    "general_storage_dir": str(self.general),
                    "spoe_dir": str(self.spoe),
                    "spoe_transaction_dir": str(self.spoe),
                    "dataplane_storage_dir": str(self.storage),
                },
            },
            "haproxy": {
                "config_file": str(self.config),
                "haproxy_bin": str(haproxy),
                "master_worker_mode": True,
                "master_runtime": str(self.master_socket),
                "reload": {
                    "reload_delay": reload_delay,
                    # Wanted by `custom`, and not run while the master socket serves for reloads.
                    "reload_strategy": "custom",
                    "reload_cmd": "false",
                    "restart_cmd": "false",
                    "validate_files_before": [str(path) for path in self._before],
                    "validate_files_after": [str(path) for path in self._after],
                },
            },
            "log_targets": [{"log_to": "stdout", "log_level": "info", "log_types": ["app"]}],
        }
        text = StringIO()
        YAML(typ="safe").dump(_merged(document, changes), text)
        self.settings.touch(mode=0o600)
        self.settings.write_text(text.getvalue())


def _listening(port: int, tls: tuple[ThrowawayCa, Path] | None) -> dict[str, Any]:
    if tls is None:
        return {"host": "127.0.0.1", "port": port, "scheme": ["http"]}
    ca, certificate = tls
    return {
        "scheme": ["https"],
        "tls": {
            "tls_host": "127.0.0.1",
            "tls_port": port,
            "tls_certificate": str(certificate),
            "tls_key": str(certificate),
            "tls_ca": str(ca.file),
        },
    }


def _merged(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`document` with `changes` over it, mappings within each other merged."""
    merged = dict(document)
    for name, value in changes.items():
        known = merged.get(name)
        both = isinstance(known, Mapping) and isinstance(value, Mapping)
        merged[name] = _merged(known, value) if both else value  # type: ignore[arg-type]
    return merged
