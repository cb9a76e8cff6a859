"""Agent keys: hashed with argon2id, checked at equal cost whether the agent exists or not."""

from __future__ import annotations

import asyncio
import hmac
import math
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from functools import cached_property
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from frontserver.errors import InputError, StorageError, TooManyRequestsError

T = TypeVar("T")

SHORTEST_KEY = 8
LONGEST_KEY = 512


def check_key(key: str) -> None:
    """Raise `InputError` unless the key has 8 to 512 printable characters."""
    if not SHORTEST_KEY <= len(key) <= LONGEST_KEY or not key.isprintable():
        raise InputError(
            "agentKey", f"an agent key has {SHORTEST_KEY} to {LONGEST_KEY} printable characters"
        )


class Standing(Enum):
    """What is known of a caller before a key is hashed; nothing of it depends on who exists."""

    PROVEN = auto()
    UNKNOWN = auto()
    FAILING = auto()


class KeyHasher:
    """Argon2id (RFC 9106) with the parameters of OWASP's Password Storage Cheat Sheet.

    A hash takes about 50 ms of one core and `memory_kib` of memory. The `…_soon` variants run
    in at most `concurrency` threads, so that a burst of log-ins leaves the event loop and the
    other core alone; beyond `waiting` of them they raise `TooManyRequestsError`. Of all these
    places `kept` are for callers that are `PROVEN`, and `failing` for those that are `FAILING`,
    which have no others.
    """

    def __init__(
        self,
        *,
        time_cost: int = 2,
        memory_kib: int = 19_456,
        concurrency: int = 2,
        waiting: int = 64,
        kept: int = 16,
        failing: int = 2,
    ) -> None:
        self._argon2 = PasswordHasher(
            time_cost=time_cost, memory_cost=memory_kib, parallelism=1, type=Type.ID
        )
        # A pool of its own, not a semaphore: a cancelled request keeps its thread until it ends.
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="argon2")
        self._most_queued = concurrency + waiting
        self._most_of = {
            Standing.PROVEN: self._most_queued,
            Standing.UNKNOWN: self._most_queued - kept - failing,
            Standing.FAILING: failing,
        }
        self._queued: Counter[Standing] = Counter()

    def hash(self, key: str) -> str:
        """The key's hash in PHC form, salted anew each time. Raises `InputError`."""
        check_key(key)
        return self._argon2.hash(key)

    def verify(self, stored_hash: str, key: str) -> bool:
        """Whether the hash is the key's. Raises `StorageError` if the hash is unreadable."""
        if not _plausible(key):
            return False
        try:
            return self._argon2.verify(stored_hash, key)
        except VerifyMismatchError:
            return False
        except (InvalidHashError, VerificationError) as error:
            raise StorageError(
                "the stored hash of an agent's key is unreadable", hint="rotate the agent's key"
            ) from error

    def verify_dummy(self, key: str) -> bool:
        """False, at the cost of `verify`: for an agent that doesn't exist."""
        self.verify(self._dummy_hash, key)
        return False

    async def hash_soon(self, key: str, standing: Standing) -> str:
        """`hash`, in a thread."""
        check_key(key)
        return await self._in_thread(standing, self.hash, key)

    async def verify_soon(self, stored_hash: str | None, key: str, standing: Standing) -> bool:
        """`verify` in a thread; `verify_dummy` where there is no hash because no such agent."""
        if stored_hash is None:
            return await self._in_thread(standing, self.verify_dummy, key)
        return await self._in_thread(standing, self.verify, stored_hash, key)

    def close(self) -> None:
        """Let the threads end; hashes under way are finished."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    @cached_property
    def _dummy_hash(self) -> str:
        return self._argon2.hash(secrets.token_urlsafe(32))

    async def _in_thread(self, standing: Standing, work: Callable[..., T], *args: str) -> T:
        queued = self._queued
        if queued.total() >= self._most_queued or queued[standing] >= self._most_of[standing]:
            raise TooManyRequestsError("too many log-ins at once", retry_after=1)
        queued[standing] += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)
        finally:
            queued[standing] -= 1


def _plausible(key: str) -> bool:
    try:
        check_key(key)
    except InputError:
        return False
    return True


class VerifiedKeys:
    """Remembers which keys were verified lately, so that Basic auth isn't a hash a request.

    An entry is an HMAC, under a secret of this process, over agent, key and stored hash: a
    rotated key misses by construction, and memory holds no key. At most `capacity` entries. For
    `ttl` seconds a key is known, and for `proof` seconds it is proven: it is hashed again, but
    whoever has it is no stranger. `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        ttl: float = 300.0,
        proof: float = 7 * 86_400.0,
        capacity: int = 10_000,
    ) -> None:
        self._clock = clock
        self._ttl = ttl
        self._proof = proof
        self._capacity = capacity
        self._secret = secrets.token_bytes(32)
        # When each was verified, the oldest first.
        self._verified: OrderedDict[bytes, float] = OrderedDict()

    def known(self, agent_id: str, key: str, stored_hash: str) -> bool:
        """Whether exactly this was remembered within the last `ttl` seconds."""
        return self._age(agent_id, key, stored_hash) < self._ttl

    def proven(self, agent_id: str, key: str, stored_hash: str) -> bool:
        """Whether exactly this was remembered within the last `proof` seconds."""
        return self._age(agent_id, key, stored_hash) < self._proof

    def remember(self, agent_id: str, key: str, stored_hash: str) -> None:
        """Note a verification that succeeded just now; the oldest one makes room."""
        mark = self._mark(agent_id, key, stored_hash)
        self._verified[mark] = self._clock()
        self._verified.move_to_end(mark)
        if len(self._verified) > self._capacity:
            self._verified.popitem(last=False)

    def _age(self, *parts: str) -> float:
        mark = self._mark(*parts)
        verified = self._verified.get(mark)
        if verified is None:
            return math.inf
        age = self._clock() - verified
        if age >= self._proof:
            del self._verified[mark]
        return age

    def _mark(self, *parts: str) -> bytes:
        mac = hmac.new(self._secret, digestmod="sha256")
        for part in parts:
            encoded = part.encode("utf-8", "surrogatepass")
            mac.update(len(encoded).to_bytes(4, "big") + encoded)
        return mac.digest()
