"""What settings and templates decide about HAProxy's frontends, the HTTPS certificate included."""

from __future__ import annotations

import logging
import os
import ssl
from datetime import UTC, datetime
from pathlib import Path

import certifi

from frontserver.errors import CertificateError
from frontserver.pki import pem
from frontserver.pki.bundles import check_server_pem
from frontserver.planning.compiled import (
    HTTPS_CERTIFICATE,
    Certificate,
    Frontends,
)
from frontserver.rendering.templates import Templates
from frontserver.settings import Settings

logger = logging.getLogger(__name__)


def make_frontends(settings: Settings, templates: Templates) -> Frontends:
    """Everything of HAProxy's configuration that settings and templates decide."""
    return Frontends(
        http_binds=settings.http_bind,
        https_binds=settings.https_bind if tls_available(settings) else (),
        mongo_binds=settings.mongo_bind,
        runtime_socket=str(settings.runtime_socket),
        hard_stop_after=settings.hard_stop_after,
        templates=templates.fingerprint(),
        extensions=templates.extensions(),
        system_ca=system_cas(),
        http_adopted=settings.dataplane_http_frontends,
        mongodb_adopted=settings.dataplane_mongodb_frontends,
    )


def tls_available(settings: Settings) -> bool:
    """Whether HTTP routes are served over HTTPS too."""
    return settings.https_certificate is not None and bool(settings.https_bind)


def system_cas() -> str:
    """The CA certificates that this system trusts, as one PEM."""
    path = ssl.get_default_verify_paths().cafile or certifi.where()
    return Path(path if os.access(path, os.R_OK) else certifi.where()).read_text()


class CertificateFile:
    """The operator's HTTPS certificate; a renewed file is noticed, a broken one ignored."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.https_certificate if tls_available(settings) else None
        self._stamp: tuple[int, int] | None = None
        self._current: tuple[Certificate, ...] = ()
        if self._path is not None:
            self._read(self._path)

    def __call__(self) -> tuple[Certificate, ...]:
        if self._path is None:
            return ()
        try:
            self._read(self._path)
        except (OSError, UnicodeDecodeError, CertificateError) as error:
            logger.error("%s isn't used: %s", self._path, error)
        return self._current

    def _read(self, path: Path) -> None:
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_size)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        content = path.read_text()
        check_server_pem(content, datetime.now(UTC))
        self._current = (Certificate(HTTPS_CERTIFICATE, pem.normalised(content)),)
