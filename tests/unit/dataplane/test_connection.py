"""Access, time limits and repeats."""

from __future__ import annotations

import base64
from pathlib import Path

import httpx
import pytest

from frontserver.dataplane.connection import Connection
from frontserver.dataplane.errors import OutcomeUnknownError
from frontserver.errors import CertificateError, ProxyUnavailableError, SettingsError
from tests.unit.dataplane.answering import Api, Said

VERSION = "/services/haproxy/configuration/version"
BEGIN = "/services/haproxy/transactions?version=1"
COMMIT = "/services/haproxy/transactions/a?force_reload=true"
OK: Said = (200, "1\n")
LOST = httpx.ReadError("reset")
REFUSED = httpx.ConnectError("refused")


class Waits:
    """Notes pauses instead of making them."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def connection(
    api: Api, waits: Waits | None = None, url: str = "http://dp.test:5555"
) -> Connection:
    return Connection(
        url,
        user="admin",
        password="s:ecret",
        transport=httpx.MockTransport(api),
        pause=waits or Waits(),
    )


def answering(method: str, *answers: Said, path: str = VERSION) -> Api:
    api = Api()
    api.says(f"{method} {path.removeprefix('/services/haproxy')}", *answers)
    return api


async def test_a_request_carries_the_credentials_and_the_path_as_it_is_encoded() -> None:
    api = Api()
    api.says("GET /runtime/maps/a%2Fb", OK)

    await connection(api).send("GET", "/services/haproxy/runtime/maps/a%2Fb")

    (request,) = api.requests
    assert request.headers["host"] == "dp.test:5555"
    login = request.headers["authorization"].removeprefix("Basic ")
    assert base64.b64decode(login) == b"admin:s:ecret"


@pytest.mark.parametrize("url", ["http://dp.test/", "http://dp.test/v3", "http://dp.test/v3/"])
async def test_the_url_may_end_with_the_versions_prefix(url: str) -> None:
    api = answering("GET", OK)

    await connection(api, url=url).send("GET", VERSION)

    assert str(api.requests[0].url) == f"http://dp.test/v3{VERSION}"


@pytest.mark.parametrize(
    "url", ["127.0.0.1:5555", "ftp://x", "http://", "http://u:p@x", "http://a:b"]
)
def test_a_url_that_is_none_is_refused_without_repeating_a_password(url: str) -> None:
    with pytest.raises(SettingsError, match="FRONTSERVER_DATAPLANE_URL") as caught:
        connection(Api(), url=url)
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
async def test_no_access_names_the_settings(status: int) -> None:
    api = answering("GET", (status, '{"code":401,"message":"unauthorized"}'))

    with pytest.raises(ProxyUnavailableError, match="FRONTSERVER_DATAPLANE_PASSWORD") as caught:
        await connection(api).send("GET", VERSION)
    assert "s:ecret" not in str(caught.value)


@pytest.mark.parametrize("failure", [LOST, REFUSED, (503, "x"), httpx.RemoteProtocolError("x")])
async def test_reading_is_repeated(failure: Said) -> None:
    api = answering("GET", failure, failure, OK)
    waits = Waits()

    answer = await connection(api, waits).send("GET", VERSION)

    assert answer.body == b"1\n"
    first, second = waits.seconds
    assert 0.05 <= first <= 0.1 <= second <= 0.2


@pytest.mark.parametrize("failure", [LOST, REFUSED, (502, "x")])
async def test_repeats_come_to_an_end(failure: Said) -> None:
    api = answering("GET", failure)

    with pytest.raises(ProxyUnavailableError) as caught:
        await connection(api).send("GET", VERSION)
    assert len(api.requests) == 3
    assert not isinstance(caught.value, OutcomeUnknownError)


async def test_a_change_is_repeated_if_nothing_was_sent() -> None:
    api = answering("POST", REFUSED, OK, path=BEGIN)

    assert (await connection(api).send("POST", BEGIN)).status == 200


@pytest.mark.parametrize("failure", [LOST, httpx.ReadTimeout("slow"), (504, "x")])
async def test_a_change_whose_answer_is_lost_is_not_repeated(failure: Said) -> None:
    api = answering("POST", failure, path=BEGIN)

    with pytest.raises(OutcomeUnknownError, match="it may have done it"):
        await connection(api).send("POST", BEGIN)
    assert len(api.requests) == 1


async def test_a_change_that_says_so_is_repeated() -> None:
    api = answering("PUT", LOST, OK, path=COMMIT)

    assert (await connection(api).send("PUT", COMMIT, safe=True)).status == 200


async def test_who_is_slow_is_not_asked_again() -> None:
    api = answering("GET", httpx.ReadTimeout("no answer within 5 s"))

    with pytest.raises(ProxyUnavailableError, match="within 5 s"):
        await connection(api).send("GET", VERSION)
    assert len(api.requests) == 1


def limits_of(request: httpx.Request) -> dict[str, float]:
    limits: dict[str, float] = request.extensions["timeout"]
    return limits


async def test_runtime_calls_wait_briefly_and_writes_of_everything_long() -> None:
    api = answering("GET", OK)
    api.says("GET /configuration/raw", (200, "", {"Configuration-Version": "1"}))
    client = api.client()

    await client.runtime.info()
    await client.configuration.version()
    await client.configuration.raw()

    assert [limits_of(request)["read"] for request in api.requests] == [5.0, 30.0, 60.0]
    assert {limits_of(request)["connect"] for request in api.requests} == {2.0}


def test_tls_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "ca.pem"

    with pytest.raises(CertificateError, match=str(missing)):
        Connection("https://dp.test", user=None, password=None, ca=missing)
