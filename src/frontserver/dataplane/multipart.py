"""A body that carries one file, as the API wants uploads (RFC 7578). Pure."""

from __future__ import annotations

import secrets


def one_file(name: str, content: bytes) -> tuple[bytes, str]:
    """The body and its media type. `name` is one of `words.name`: nothing in it needs escaping."""
    boundary = secrets.token_hex(16)
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="file_upload"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"
