"""What a request carries: bodies of the kinds that the API takes, and its query."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import unquote

import msgspec
from litestar import Request, Response
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.params import Body

from harness.dataplane_double import schemas
from harness.dataplane_double.errors import ApiError

Json = dict[str, Any]
Call = Request[Any, Any, Any]
Upload = Annotated[dict[str, UploadFile], Body(media_type=RequestEncodingType.MULTI_PART)]

_KEY = '^[^\\r\\n<>*;$#&{}"]+$'


def json_body(request: Call, body: bytes, schema: str) -> Any:
    """The JSON of a body, judged by a schema. Raises `ApiError`: 415, 400, 422."""
    _require(request, "application/json")
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise ApiError(400, f'parsing data body from "" failed, because {error}') from error
    return schemas.accepted(value, schema)


def text_body(request: Call, body: bytes) -> str:
    """The text of a body. Raises `ApiError`: 415, 422 if there is none."""
    _require(request, "text/plain", "application/json")
    if not body:
        raise ApiError(422, "data in body is required", code=602)
    return body.decode("utf-8", "replace")


def uploaded(data: dict[str, UploadFile]) -> tuple[str, bytes]:
    """Name and content of the file in a form. Raises `ApiError`."""
    file = data.get("file_upload")
    if not isinstance(file, UploadFile):
        raise ApiError(400, 'reading file "fileUpload" failed')
    return file.filename, file.file.read()


def key(value: str) -> str:
    """A key in a path. Raises `ApiError`."""
    return schemas.in_path(unquote(value), _KEY, "id")


def answer(content: Any, status: int = 200, *, reload: str | None = None) -> Response[Any]:
    """An answer, with the id of the reload that it waits for."""
    headers = {"Reload-ID": reload} if reload else {}
    return Response(content, status_code=status, headers=headers)


def plain(
    text: str, status: int, media: str = "text/plain", headers: dict[str, str] | None = None
) -> Response[Any]:
    """An answer in text, without a charset as the real one's."""
    return Response(text, status_code=status, headers={"Content-Type": media, **(headers or {})})


def nothing(status: int = 204, *, reload: str | None = None) -> Response[Any]:
    """An answer without a body."""
    headers = {"Reload-ID": reload} if reload else {}
    return Response(b"", status_code=status, headers=headers, media_type="")


def _require(request: Call, *types: str) -> None:
    given = request.headers.get("content-type", "application/octet-stream").partition(";")[0]
    if given not in types:
        raise ApiError(
            415, f'unsupported media type "{given}", only [{" ".join(types)}] are allowed'
        )
