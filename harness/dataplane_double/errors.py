"""What the double refuses, as the real one says it."""

from __future__ import annotations


class ApiError(Exception):
    """An answer that isn't a success: `{"code": ..., "message": ...}`.

    `code` in the body is the status, but a code of its own for values that are refused with 422.
    """

    def __init__(self, status: int, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or status

    def payload(self) -> dict[str, object]:
        return {"code": self.code, "message": self.message}


class PanicError(Exception):
    """Where the real one's code panics: 500, in plain text, without its usual headers."""


def unknown_here(what: str) -> ApiError:
    """The real one knows it, the double doesn't."""
    return ApiError(501, f"the double doesn't know {what}; see harness/dataplane_double")


def absent(what: str) -> ApiError:
    return ApiError(404, f"missing object: {what}")


def present(what: str) -> ApiError:
    return ApiError(409, f"object already exists: {what}")


def version_mismatch(known: int, given: int) -> ApiError:
    return ApiError(
        409,
        f"version mismatch: version in configuration file is {known}, given version is {given}",
    )
