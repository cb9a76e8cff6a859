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
    # As the real one: clients may keep a connection for three minutes.
    config = uvicorn.Config(
        application(assemble(settings)),
        host=settings.host,
        port=settings.port,
        timeout_keep_alive=180,
        access_log=False,
    )
    if settings.tls is not None:
        tls = settings.tls
        config.host, config.port = tls.host, tls.port
        config.ssl_certfile, config.ssl_keyfile = tls.certificate, tls.key
        config.ssl_ca_certs = tls.ca
        config.ssl_cert_reqs = ssl.CERT_REQUIRED if tls.ca else ssl.CERT_NONE
    uvicorn.Server(config).run()


main()
