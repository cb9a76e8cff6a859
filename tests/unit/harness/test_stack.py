"""A stack that can't be: what is wrong with it is told, and nothing is left of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from harness import Stack
from harness.errors import HarnessError, UnavailableError
from harness.parts import NativeParts


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The temporary directory, where every stack has one of its own; nothing is chosen."""
    for name in ("BACKEND", "WHERE", "HAPROXY", "MONGODB"):
        monkeypatch.delenv(f"HARNESS_{name}", raising=False)
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"backend": "data-plane"}, "backend='data-plane' is none of: file, dataplane"),
        ({"mongodb": "replicaset"}, "mongodb='replicaset' is none of: single, replica-set"),
        ({"where": "container"}, "where='container' is none of: native, containers"),
        ({"haproxy": "v3.4"}, "haproxy='v3.4' is no version"),
        ({"environ": {"FRONTSERVER_HTTP_BIND": ":80"}}, r"use `stack\.front\.http_port`"),
        ({"environ": {"FRONTSERVER_APP_DOMAIN": "x.example"}}, r"`stack\.url` says"),
        ({"backend": "file", "dataplane": {"pools": True}}, "needs `backend='dataplane'`"),
        ({"parts": NativeParts(), "haproxy": "3.4"}, "leave out `where` and `haproxy`"),
    ],
)
def test_wrong_arguments_are_an_error_and_no_reason_to_skip(
    temporary: Path, arguments: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(HarnessError, match=complaint) as refused:
        Stack(**arguments)
    assert not isinstance(refused.value, UnavailableError)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("backend", "variable"),
    [("file", "FRONTSERVER_HAPROXY_BIN"), ("dataplane", "DATAPLANEAPI_BIN")],
)
def test_what_is_not_here_leaves_no_directory(
    monkeypatch: pytest.MonkeyPatch, temporary: Path, backend: str, variable: str
) -> None:
    monkeypatch.setenv(variable, "/nowhere")
    with pytest.raises(UnavailableError, match=variable):
        Stack(backend=backend)
    assert list(temporary.iterdir()) == []
