"""The operator's credential: one bearer token (RFC 6750), set by the operator."""

from __future__ import annotations

import hashlib
import hmac


class OperatorCredential:
    """The token that makes a caller an operator; without one nobody is.

    Only its hash is kept, so that no dump or traceback shows it.
    """

    def __init__(self, token: str | None) -> None:
        if token == "":
            raise ValueError("an operator token must not be empty")
        self._digest = None if token is None else _digest(token)

    @property
    def configured(self) -> bool:
        """Whether there is a token at all."""
        return self._digest is not None

    def accepts(self, presented: str) -> bool:
        """Whether this is the token, compared in constant time."""
        return self._digest is not None and hmac.compare_digest(self._digest, _digest(presented))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
