"""The OpenAPI document, as it is kept in git.

python -m frontserver.api.openapi > docs/openapi.json
"""

from __future__ import annotations

import json
import sys
from typing import Any

from frontserver import __version__
from frontserver.api.application import create_api
from frontserver.api.metrics import Metrics


def document() -> str:
    """The document as JSON text. It is built from handlers and types alone: no service runs."""
    unused: Any = None
    api = create_api(
        agents=unused,
        routes=unused,
        certificates=unused,
        publisher=unused,
        storage_check=unused,
        version=__version__,
        metrics=Metrics(__version__),
    )
    schema = api.openapi_schema.to_schema()
    # A handler's paths are a set in Litestar, so their order differs from run to run.
    schema["paths"] = dict(sorted(schema["paths"].items()))
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
