"""What isn't as the Data Plane API's document has it is found, in requests and in answers."""

from __future__ import annotations

import json

import msgspec
import pytest

from harness.contract import shapes
from harness.contract.checks import Answer, Request, check_answer, check_request
from harness.dataplane_double import schemas
from harness.errors import ContractError

BASE = "/v3/services/haproxy"
SERVERS = f"{BASE}/runtime/backends/shop/servers"
RAW = f"{BASE}/configuration/raw"
JSON, TEXT = "application/json", "text/plain"
STATE = {"admin_state": "ready"}
SERVER = {"name": "s1", "address": "10.0.0.1", "port": 80, "id": "1", **STATE}


def asked(
    method: str,
    target: str,
    body: object = b"",
    media: str | None = JSON,
    **headers: str,
) -> Request:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if content and media:
        given["content-type"] = media
    return Request(method, target, given, content)


def answered(status: int, body: object = b"", media: str = JSON) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {"content-type": media} if content else {}, content)


def form(field: str) -> tuple[bytes, str]:
    part = f'Content-Disposition: form-data; name="{field}"; filename="a.pem"\r\n\r\nPEM'
    return f"--x\r\n{part}\r\n--x--\r\n".encode(), "multipart/form-data; boundary=x"


ALLOWED = [
    asked("GET", f"{BASE}/configuration/version"),
    asked("PUT", f"{SERVERS}/s1", STATE),
    asked("GET", f"{BASE}/runtime/ssl_certs/%2Fetc%2Fa.pem"),
    asked("POST", f"{RAW}?version=7&skip_reload=true", b"global\n", TEXT, x_runtime_actions="a"),
    asked("POST", f"{BASE}/storage/general", *form("file_upload")),
    asked("POST", f"{BASE}/configuration/backends?version=1", {"name": "a", "from": "b"}),
]


@pytest.mark.parametrize(
    "request_", ALLOWED, ids=lambda request: f"{request.method} {request.path}"
)
def test_what_the_document_has_is_let_through(request_: Request) -> None:
    check_request(request_)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (asked("GET", "/v2/info"), "doesn't know this"),
        (asked("GET", f"{BASE}/runtime/backends"), "doesn't know this"),
        (asked("PATCH", f"{SERVERS}/s1", STATE), "doesn't know this"),
        (asked("GET", f"{BASE}/runtime/maps/a*b"), r"`name`: .* matching regex"),
        # Parameters.
        (asked("POST", f"{RAW}?versoin=7", b"global\n", TEXT), "no parameter `versoin`"),
        (asked("POST", f"{RAW}?version=seven", b"global\n", TEXT), "`version`: Expected `int`"),
        (asked("POST", f"{RAW}?skip_reload=yes", b"global\n", TEXT), "Expected `bool`"),
        (asked("GET", f"{BASE}/stats/native?type=listener"), "`type`: Invalid enum value"),
        (asked("POST", f"{BASE}/transactions"), "`version` is missing"),
        (
            asked("POST", RAW, b"global\n", TEXT, x_runtime_action="a"),
            "no header `x-runtime-action`",
        ),
        # JSON.
        (asked("PUT", f"{SERVERS}/s1", {"admin_sate": "ready"}), "unknown field `admin_sate`"),
        (
            asked("PUT", f"{SERVERS}/s1", {"admin_state": "off"}),
            r"Invalid enum value .*admin_state",
        ),
        (asked("POST", SERVERS, {**SERVER, "port": "80"}), r"Expected `int.*got `str`.*port"),
        (asked("POST", SERVERS, {**SERVER, "port": 65536}), r"<= 65535 - at `\$.port`"),
        (asked("POST", f"{BASE}/configuration/backends", {}), "missing required field `name`"),
        (asked("PUT", f"{SERVERS}/s1", b'{"admin_state":'), "truncated"),
        (
            asked(
                "POST",
                f"{BASE}/configuration/backends",
                {"name": "a", "servers": {"s1": {"name": "s1", "adress": "10.0.0.1"}}},
            ),
            r"unknown field `adress` - at `\$.servers\[...\]`",
        ),
        # Bodies.
        (asked("POST", RAW, b"global\n", JSON), "media type is 'application/json'"),
        (asked("PUT", f"{SERVERS}/s1", STATE, None), "media type is ''"),
        (asked("PUT", f"{SERVERS}/s1"), "media type is ''"),
        (asked("GET", RAW, STATE), "a body, where none is taken"),
        (asked("POST", f"{BASE}/storage/general", *form("file_uplaod")), "no field `file_uplaod`"),
        (asked("POST", f"{BASE}/runtime/ssl_certs", *form("")), "no field ``"),
    ],
)
def test_a_request_that_breaks_the_contract_is_found(request_: Request, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        check_request(request_)


def test_a_form_without_its_field_is_found() -> None:
    body = b"--x--\r\n", "multipart/form-data; boundary=x"
    with pytest.raises(ContractError, match="`file_upload` is missing"):
        check_request(asked("POST", f"{BASE}/runtime/ssl_certs", *body))


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (asked("GET", SERVERS), answered(200, [SERVER])),
        (asked("GET", SERVERS), answered(404, {"code": 404, "message": "no"})),
        (asked("GET", SERVERS), answered(500, {"code": 500, "message": "no", "more": "words"})),
        (asked("DELETE", f"{SERVERS}/s1"), answered(204)),
        (asked("GET", RAW), answered(200, b"global\n", f"{TEXT}; charset=utf-8")),
    ],
)
def test_an_answer_of_the_document_is_let_through(request_: Request, answer: Answer) -> None:
    check_answer(request_, answer)


@pytest.mark.parametrize(
    ("request_", "answer", "words"),
    [
        (asked("GET", SERVERS), answered(203, [SERVER]), "doesn't know this status"),
        (asked("GET", SERVERS), answered(200, [{**SERVER, "stat": "up"}]), "unknown field `stat`"),
        (asked("GET", SERVERS), answered(200, SERVER), "Expected `array`"),
        (asked("GET", SERVERS), answered(200, [{**SERVER, "port": "80"}]), "Expected `int"),
        (asked("GET", SERVERS), answered(200, [SERVER], TEXT), "media type is 'text/plain'"),
        (asked("GET", SERVERS), answered(200), "media type is ''"),
        (asked("GET", SERVERS), answered(500, {"message": "no"}), "required field `code`"),
        (asked("DELETE", f"{SERVERS}/s1"), answered(204, STATE), "a body, where none"),
    ],
)
def test_an_answer_that_breaks_the_contract_is_found(
    request_: Request, answer: Answer, words: str
) -> None:
    with pytest.raises(ContractError, match=rf"answer {answer.status}: .*{words}"):
        check_answer(request_, answer)


def test_every_schema_of_the_document_is_understood() -> None:
    for name in schemas.openapi()["components"]["schemas"]:
        with pytest.raises(msgspec.DecodeError):
            shapes.judge_json(b'"\xff"', {"$ref": f"#/components/schemas/{name}"})


def test_what_is_not_translated_is_not_passed_over() -> None:
    with pytest.raises(NotImplementedError, match="minItems"):
        shapes.judge([], {"type": "array", "minItems": 1, "items": {"type": "string"}})
