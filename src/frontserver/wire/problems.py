"""Errors on the wire: RFC 9457 problem details plus the members that older agents read."""

from __future__ import annotations

import msgspec


class FieldProblem(msgspec.Struct, frozen=True):
    """One refused value: its path in the request and what is wrong with it."""

    field: str
    message: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`detail`, `error` and `message` hold the same sentence; `code` repeats `status`."""

    type: str
    title: str
    status: int
    detail: str
    success: bool
    error: str
    message: str
    code: int
    instance: str | None = None
    errors: list[FieldProblem] | None = None
    hint: str | None = None
