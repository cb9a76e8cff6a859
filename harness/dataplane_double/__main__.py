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
    from harness.contract.journal import Journal  # noqa: PLC0415
    from harness.dataplane_double.app import application  # noqa: PLC0415
    from harness.dataplane_double.parts import assemble  # noqa: PLC0415
    from harness.dataplane_double.settings import read_settings  # noqa: PLC0415
    from harness.dataplane_double.watched import watched  # noqa: PLC0415

    arguments = argparse.ArgumentParser(description="a double of HAProxy's Data Plane API")
    arguments.add_argument("-f", type=Path, required=True, help="dataplaneapi.yml")
    arguments.add_argument(
        "--journal", type=Path, help="where to write what isn't as the OpenAPI document has it"
    )
    chosen = arguments.parse_args()
    settings = read_settings(chosen.f)
    app = application(assemble(settings))
    if chosen.journal is not None:
        app = watched(app, Journal(chosen.journal))
    # As the real one: clients may keep a connection for three minutes.
    config = uvicorn.Config(
        app,
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
