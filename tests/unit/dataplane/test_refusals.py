"""What refusals mean; the messages are those of the real API."""

from __future__ import annotations

import json

import pytest

from frontserver.dataplane.errors import (
    AbsentError,
    BusyError,
    DataPlaneError,
    ReloadFailedError,
    RuntimeActionError,
    TooManyTransactionsError,
    TroubleError,
    VersionConflictError,
)
from frontserver.dataplane.refusals import answered_by_haproxy, refusal, tidy
from frontserver.errors import ConfigRejectedError, ProxyError, ProxyUnavailableError
from tests.unit.dataplane.answering import REFUSED, SOCKET

COPY = "/tx/cp.cfg.66b8d1c3-6fda-4d94-8736-91b698749f3b"
INVALID = (
    "validation error: exit status 1: err transactionId=66b8d1c3-6fda-4d94-8736-91b698749f3b \n"
    f"msg=\"config parsing [{COPY}:8] unknown proxy mode 'bogus'.\"\n"
    f'msg="config Error(s) found in configuration file {COPY}"\n'
    'msg="config Fatal errors found in configuration."'
)
NOT_RELOADED = (
    "Reload failed: failed to reload configuration, [NOTICE]   (12551) : Initializing new worker\n"
    '[WARNING]  (23739) : Server a/s1 is DOWN, info: "dial unix".\n'
    "[ALERT]    (23739) : Binding [cp.cfg:11] for frontend cp_http: cannot bind socket (Address "
    "already in use) for [127.0.0.1:15655].\n"
    "[ALERT]    (23739) : [haproxy.main()] Some protocols failed to start their listeners! Exiting."
)


def meaning(status: int, message: str) -> ProxyError:
    return refusal(status, json.dumps({"code": status, "message": message}).encode())


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (404, "no data for none: not found", AbsentError),
        (404, "transaction does not exist: transaction x does not exist", AbsentError),
        (400, "transaction does not exist: transaction x does not exist", AbsentError),
        (406, "transaction x is outdated and cannot be committed", VersionConflictError),
        (
            409,
            "version mismatch: version in configuration file is 2, given version is 7",
            VersionConflictError,
        ),
        (409, "object already exists: file /maps/hosts.map already exists", DataPlaneError),
        (
            409,
            "rejecting attempt to delete file /m.map referenced in haproxy conf at line 9: x",
            BusyError,
        ),
        (429, "cannot start a new transaction, reached the maximum amount of 20", None),
        (500, f"{SOCKET} [3]  Server still has connections attached to it.", BusyError),
        (500, f"cannot execute SetServerAddr: {SOCKET} [3]  No such backend.", RuntimeActionError),
        (500, f"cannot execute SetServerState: {SOCKET} {REFUSED} [set]", RuntimeActionError),
        (500, "open /tx/x: no space left on device", TroubleError),
        (503, "the gateway has nobody to ask", TroubleError),
        (500, f"{SOCKET} [3]  'server' expects a name.", DataPlaneError),
        (422, "version in query is required", DataPlaneError),
        (400, f"Reload failed: cannot reload: {REFUSED}, ", ProxyUnavailableError),
        (404, f"{SOCKET} {REFUSED} [show map x] not found", ProxyUnavailableError),
        (404, f"cannot retrieve SSL CA files: {REFUSED} [x] not found", ProxyUnavailableError),
        (500, "retry - unable to configure runtime client: x", ProxyUnavailableError),
        (404, "path /v3/info was not found", ProxyUnavailableError),
        (400, INVALID, ConfigRejectedError),
        (400, NOT_RELOADED, ReloadFailedError),
    ],
)
def test_each_refusal_is_one_kind(status: int, message: str, kind: type[ProxyError] | None) -> None:
    assert type(meaning(status, message)) is (kind or TooManyTransactionsError)


def test_a_refusal_carries_status_code_and_words() -> None:
    error = refusal(422, b'{"code":602,"message":"version in query is required"}')

    assert isinstance(error, DataPlaneError)
    assert (error.status, error.code) == (422, 602)
    assert error.message == "version in query is required"


def test_a_rejected_configuration_names_reason_file_and_line() -> None:
    error = meaning(400, INVALID)

    assert isinstance(error, ConfigRejectedError)
    assert error.reason == "parsing [/tx/cp.cfg:8] unknown proxy mode 'bogus'."
    assert (error.file, error.line) == ("/tx/cp.cfg", 8)


def test_a_failed_reload_says_what_haproxy_said() -> None:
    error = meaning(400, NOT_RELOADED)

    assert isinstance(error, ReloadFailedError)
    assert error.reason == (
        "Binding [cp.cfg:11] for frontend cp_http: cannot bind socket (Address already in use) "
        "for [127.0.0.1:15655]."
    )
    assert (error.file, error.line) == ("cp.cfg", 11)


def test_a_rejection_without_haproxys_lines_keeps_the_message() -> None:
    error = meaning(400, "validation error: exec: not found")

    assert isinstance(error, ConfigRejectedError)
    assert error.reason == "validation error: exec: not found"


def test_some_calls_name_their_reason_otherwise() -> None:
    error = refusal(500, json.dumps({"error": f"{REFUSED} [show stat]"}).encode())

    assert isinstance(error, ProxyUnavailableError)
    assert REFUSED in error.message


@pytest.mark.parametrize(("status", "body"), [(404, b"<html>nginx</html>"), (301, b"{}")])
def test_something_else_behind_the_url_is_no_absence(status: int, body: bytes) -> None:
    error = refusal(status, body)

    assert isinstance(error, ProxyUnavailableError)
    assert "FRONTSERVER_DATAPLANE_URL" in str(error)


def test_no_message_holds_the_command_which_may_hold_a_key() -> None:
    said = tidy(
        f"{SOCKET} [3]  Can't update x.pem! [set ssl cert x.pem <<\nSECRET\n\n] general error"
    )

    assert said == "Can't update x.pem!"


def test_brackets_of_others_stay() -> None:
    said = "referenced in haproxy conf at line 9: use_backend %[req.hdr(host)]"

    assert tidy(said) == said


@pytest.mark.parametrize(
    ("message", "certain"),
    [
        (f"{SOCKET} [3]  Key not found. [del map x y] not found", True),
        ("127.0.0.1:9999 [3]  No such backend.", True),
        ("no data for none: not found", False),
        (f"{SOCKET} shop.example not found", False),
    ],
)
def test_haproxys_own_words_are_told_from_the_apis(message: str, certain: bool) -> None:
    body = json.dumps({"code": 404, "message": message}).encode()

    assert answered_by_haproxy(body) is certain
