"""The way in."""

from __future__ import annotations

import pytest

from frontserver.errors import ProxyUnavailableError
from tests.unit.dataplane.answering import Api, refused


async def test_the_apis_version_is_known() -> None:
    api = Api()
    api.says("GET /v3/info", (200, '{"api":{"build_date":"x","version":" 3.2.13 "},"system":{}}'))

    assert await api.client().api_version() == "3.2.13"


async def test_an_api_without_this_version_is_told() -> None:
    api = Api()
    api.says("GET /v3/info", refused(404, "path /v3/info was not found"))

    with pytest.raises(ProxyUnavailableError, match=r"version 3\.2 is known to work"):
        await api.client().api_version()
