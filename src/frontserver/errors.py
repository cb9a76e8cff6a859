"""Every error this product raises on purpose, in one tree.

    FrontServerError
    ├── SettingsError             a setting is missing or wrong; names each bad one
    ├── InputError                a request is well-formed but asks for something invalid
    ├── BatchError                some of many routes are refused; holds the error of each
    ├── AuthenticationError       no credentials, or wrong ones
    ├── PermissionDeniedError     valid credentials, somebody else's resource
    ├── NotFoundError             no such agent, route or certificate
    ├── ConflictError             the name or identity belongs to somebody else
    ├── TooManyRequestsError      slow down; carries the seconds to wait
    ├── StorageError              the state can't be read or stored now
    ├── CertificateError          a certificate or key can't be read, issued or trusted
    └── ProxyError                something about HAProxy
        ├── ProxyUnavailableError     it doesn't run, or its socket doesn't answer
        ├── CommandRefusedError       it answered a command with a refusal
        ├── ConfigRejectedError       it refuses a configuration; names file and line if known
        ├── TemplateError             a template doesn't render; names file and line
        └── ProcessConflictError      somebody else holds our ports or our state

`frontserver.dataplane.errors` has more below `ProxyError`, for one backend alone.

Domain code raises these and never an HTTP error; `frontserver.api.problems` maps them.
"""

from __future__ import annotations

from collections.abc import Mapping


class FrontServerError(Exception):
    """The root. `message` says what happened, `hint` what the person can do about it."""

    stage = "frontserver"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class SettingsError(FrontServerError):
    """One or more settings are wrong; `problems` holds a line for each."""

    stage = "settings"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class InputError(FrontServerError):
    """A value is refused; `field` is its path in the request, such as `options.check.path`."""

    stage = "input"

    def __init__(self, field: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.field = field

    def under(self, parent: str) -> InputError:
        """The same refusal, with its field path placed below `parent`."""
        path = f"{parent}.{self.field}" if self.field else parent
        return InputError(path, self.message, hint=self.hint)


class BatchError(FrontServerError):
    """Routes that were to be stored together are refused, so none of them is stored.

    `refusals` holds what is wrong with each, by its path in the request, such as `routes[7]`; there
    is at least one. `total` is how many routes there were.
    """

    stage = "input"

    def __init__(self, refusals: Mapping[str, FrontServerError], total: int) -> None:
        where, first = next(iter(refusals.items()))
        super().__init__(
            f"{len(refusals)} of {total} routes are refused, so none is stored; "
            f"the first is {where}: {first.message}",
            hint=first.hint,
        )
        self.refusals = refusals
        self.total = total


class AuthenticationError(FrontServerError):
    """The caller isn't who it says, or doesn't say who it is."""

    stage = "authentication"


class PermissionDeniedError(FrontServerError):
    """The caller is known, and the resource is somebody else's."""

    stage = "authorization"


class NotFoundError(FrontServerError):
    """The thing asked for doesn't exist."""

    stage = "lookup"


class ConflictError(FrontServerError):
    """The name is taken by another owner."""

    stage = "state"


class TooManyRequestsError(FrontServerError):
    """The caller must wait `retry_after` seconds."""

    stage = "limits"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message, hint=f"try again in {retry_after} s")
        self.retry_after = retry_after


class StorageError(FrontServerError):
    """The database can't be reached, or refuses to store."""

    stage = "storage"


class CertificateError(FrontServerError):
    """A certificate, key or request is unreadable, mismatched or not trusted."""

    stage = "pki"


class ProxyError(FrontServerError):
    """Anything that goes wrong between us and HAProxy."""

    stage = "haproxy"


class ProxyUnavailableError(ProxyError):
    """HAProxy isn't there: no process, no socket, or no answer in time."""


class CommandRefusedError(ProxyError):
    """HAProxy refused a runtime command; `command` is without its payload."""

    def __init__(self, command: str, answer: str) -> None:
        super().__init__(f"HAProxy refused {command!r}: {answer.strip() or 'no reason given'}")
        self.command = command
        self.answer = answer.strip()


class ConfigRejectedError(ProxyError):
    """HAProxy refuses a configuration. `reason` is its own message, `file` and `line` if known."""

    stage = "check"

    def __init__(self, reason: str, *, file: str | None = None, line: int | None = None) -> None:
        super().__init__(f"HAProxy refuses the configuration: {reason}")
        self.reason = reason
        self.file = file
        self.line = line


class TemplateError(ProxyError):
    """A template is missing or doesn't render; names the file and line to mend."""

    stage = "rendering"

    def __init__(self, message: str, *, file: str, line: int | None = None) -> None:
        where = f"{file}:{line}" if line else file
        super().__init__(f"{where}: {message}", hint="mend the template; what runs is unchanged")
        self.file = file
        self.line = line


class ProcessConflictError(ProxyError):
    """Another process holds what we need: a port, a socket or the state directory."""

    stage = "process"
