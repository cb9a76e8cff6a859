"""What can go wrong with the Data Plane API, below the errors that every backend knows.

ProxyError
├── ProxyUnavailableError        it, or HAProxy behind it, can't be reached or doesn't let us in
│   └── OutcomeUnknownError          a change was sent and no answer came: done or not
├── ConfigRejectedError          HAProxy refuses a configuration; nothing was changed
│   └── ReloadFailedError            it was written, and the reload failed: disk and memory differ
└── DataPlaneError               it answered with a refusal; carries status, code and message
    ├── AbsentError                  there is no such backend, map, file, …
    ├── VersionConflictError         somebody else has changed the configuration meanwhile
    ├── BusyError                    not while it is in use
    ├── TooManyTransactionsError     transactions that were left open must be deleted first
    ├── TroubleError                 it is in trouble itself (5xx): the disk is full, or a bug
    ├── RuntimeActionError           the file was written, a runtime action after it failed
    └── UnsayableError               the API can't carry this; nothing was sent
"""

from __future__ import annotations

from frontserver.errors import ConfigRejectedError, ProxyError, ProxyUnavailableError


class DataPlaneError(ProxyError):
    """A refusal. `message` is the API's own, `status` of HTTP, `code` of its body (often equal)."""

    stage = "dataplane"

    def __init__(
        self, message: str, *, status: int = 0, code: int | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = status if code is None else code


class AbsentError(DataPlaneError):
    """What the request is about doesn't exist, and HAProxy was there to say so."""


class VersionConflictError(DataPlaneError):
    """The configuration has another version than the request was made for."""


class BusyError(DataPlaneError):
    """It is in use, by connections or by the configuration."""


class TooManyTransactionsError(DataPlaneError):
    """Too many transactions are open; they never expire by themselves."""


class TroubleError(DataPlaneError):
    """The API couldn't do it for a reason of its own: the same request may work another time."""


class RuntimeActionError(DataPlaneError):
    """A runtime action failed, those after it were left out, and the file is written."""


class UnsayableError(DataPlaneError):
    """A value that the API, or HAProxy's command line behind it, would misread."""


class OutcomeUnknownError(ProxyUnavailableError):
    """A change was sent and no answer came back: look before repeating it."""


class ReloadFailedError(ConfigRejectedError):
    """The check passed, the reload failed: the old worker serves, the API's memory is ahead."""
