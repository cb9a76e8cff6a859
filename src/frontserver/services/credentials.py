"""Checking an agent's key: throttled, at equal cost for unknown agents, remembered for a while."""

from __future__ import annotations

from frontserver.errors import AuthenticationError, TooManyRequestsError
from frontserver.security.keys import KeyHasher, Standing, VerifiedKeys
from frontserver.security.throttle import Throttle


def wrong_credentials() -> AuthenticationError:
    """The one answer to an unknown agent and to a wrong key."""
    return AuthenticationError(
        "wrong agent id or key", hint="check both; an operator can invite the agent anew"
    )


class KeyCheck:
    """Compares keys with stored hashes on behalf of a peer.

    Hashing is dear, so strangers could keep everybody from it. Whoever presents a key that was
    right lately has places that no stranger gets: only the key itself tells, so nobody learns from
    that which agents there are. Any other attempt counts as a failure of its peer until it
    succeeds, and a peer with too many shares a few places with others like it. It isn't shut out,
    since agents may be behind the same address.
    """

    def __init__(self, hasher: KeyHasher, throttle: Throttle, verified: VerifiedKeys) -> None:
        self._hasher = hasher
        self._throttle = throttle
        self._verified = verified

    async def hash(self, key: str, *, stranger: str | None = None) -> str:
        """A new hash of the key. Raises `InputError` for one that is too short or long.

        `stranger` is the peer, if the caller has shown no credentials; it may have a few at once.
        """
        if stranger is None:
            return await self._hasher.hash_soon(key, Standing.PROVEN)
        if not self._throttle.charge(stranger):
            return await self._hasher.hash_soon(key, Standing.FAILING)
        try:
            return await self._hasher.hash_soon(key, Standing.UNKNOWN)
        finally:
            self._throttle.refund(stranger)

    async def matches(self, agent_id: str, key: str, stored_hash: str | None, peer: str) -> bool:
        """Whether the hash is the key's. Without a hash it takes as long, and the answer is no.

        Raises `TooManyRequestsError` after too many failures from this peer.
        """
        self._throttle.check(peer, agent_id)
        if stored_hash is not None and self._verified.known(agent_id, key, stored_hash):
            return True
        proven = stored_hash is not None and self._verified.proven(agent_id, key, stored_hash)
        if proven:
            right = await self._hasher.verify_soon(stored_hash, key, Standing.PROVEN)
        else:
            right = await self._try(key, stored_hash, peer)
        if not right:
            self._throttle.failed(peer, agent_id)
            return False
        self._throttle.succeeded(peer, agent_id)
        if stored_hash is not None:
            self._verified.remember(agent_id, key, stored_hash)
        return True

    async def _try(self, key: str, stored_hash: str | None, peer: str) -> bool:
        if not self._throttle.charge(peer):
            return await self._hasher.verify_soon(stored_hash, key, Standing.FAILING)
        try:
            right = await self._hasher.verify_soon(stored_hash, key, Standing.UNKNOWN)
        except TooManyRequestsError:
            # Nothing was tried.
            self._throttle.refund(peer)
            raise
        if right:
            self._throttle.refund(peer)
        return right
