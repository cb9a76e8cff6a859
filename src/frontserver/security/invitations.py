"""Keys that an operator mints for an agent it invites."""

from __future__ import annotations

import secrets

_ENTROPY_BYTES = 32


def mint_key() -> str:
    """A new agent key: 256 random bits as 43 URL-safe characters."""
    return secrets.token_urlsafe(_ENTROPY_BYTES)
