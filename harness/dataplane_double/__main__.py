"""`python -m harness.dataplane_double -f dataplaneapi.yml`"""

from __future__ import annotations

import argparse
import ssl
from pathlib import Path

import uvicorn

from harness.dataplane_double.app import application
from harness.dataplane_double.parts import assemble
from harness.dataplane_double.settings import read_settings


def main() -> None:
    """Serve until a signal."""
    arguments = argparse.ArgumentParser(description="a double of HAProxy's Data Plane API")
    arguments.add_argument("-f", type=Path, required=True, help="dataplaneapi.yml")
    settings = read_settings(arguments.parse_args().f)
    app = application(assemble(settings))
    if settings.tls is None:
        uvicorn.run(app, host=settings.host, port=settings.port, log_level="info")
        return
    tls = settings.tls
    uvicorn.run(
        app,
        host=tls.host,
        port=tls.port,
        log_level="info",
        ssl_certfile=tls.certificate,
        ssl_keyfile=tls.key,
        ssl_ca_certs=tls.ca,
        ssl_cert_reqs=ssl.CERT_REQUIRED if tls.ca else ssl.CERT_NONE,
    )


main()
