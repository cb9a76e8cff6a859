"""`python -m harness.dataplane_double -f dataplaneapi.yml`"""

from __future__ import annotations

import argparse
import ssl
import sys
from pathlib import Path

import uvicorn


def main() -> None:
    """Serve until a signal."""
    # Litestar takes it in wherever it is installed, and SQLAlchemy with it: half of the start.
    sys.modules["advanced_alchemy"] = None  # type: ignore[assignment]
    from harness.dataplane_double.app import application  # noqa: PLC0415
    from harness.dataplane_double.parts import assemble  # noqa: PLC0415
    from harness.dataplane_double.settings import read_settings  # noqa: PLC0415

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
