"""Checking an agent's key: throttled, at equal cost for unknown agents, remembered for a while."""

from __future__ import annotations

from frontserver.errors import AuthenticationError
from frontserver.security.keys import KeyHasher, VerifiedKeys
from frontserver.security.throttle import Throttle


def wrong_credentials() -> AuthenticationError:
    """The one answer to an unknown agent and to a wrong key."""
    return AuthenticationError(
        "wrong agent id or key", hint="check both; an operator can invite the agent anew"
    )


class KeyCheck:
    """Compares keys with stored hashes on behalf of a peer."""

    def __init__(self, hasher: KeyHasher, throttle: Throttle, verified: VerifiedKeys) -> None:
        self._hasher = hasher
        self._throttle = throttle
        self._verified = verified

    async def hash(self, key: str) -> str:
        """A new hash of the key. Raises `InputError` for one that is too short or long."""
        return await self._hasher.hash_soon(key)

    async def matches(self, agent_id: str, key: str, stored_hash: str | None, peer: str) -> bool:
        """Whether the hash is the key's. Without a hash it takes as long, and the answer is no.

        Raises `TooManyRequestsError` after too many failures from this peer.
        """
        self._throttle.check(peer, agent_id)
        if stored_hash is not None and self._verified.known(agent_id, key, stored_hash):
            return True
        if not await self._hasher.verify_soon(stored_hash, key):
            self._throttle.failed(peer, agent_id)
            return False
        self._throttle.succeeded(peer, agent_id)
        if stored_hash is not None:
            self._verified.remember(agent_id, key, stored_hash)
        return True
