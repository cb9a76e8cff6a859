"""What goes wrong in the harness itself."""

from __future__ import annotations


class HarnessError(Exception):
    """A part didn't do what it was asked; the message holds the end of its log."""


class UnavailableError(HarnessError):
    """A part can't run on this machine at all; the message is a reason to skip with."""


class ContractError(HarnessError):
    """Requests to a Data Plane API, or its answers, aren't as its OpenAPI document has them."""
