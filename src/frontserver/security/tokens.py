"""Agent tokens: JWTs (RFC 7519) signed with HS256 and nothing else, under rotating keys."""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, Self

import jwt
import msgspec

from frontserver.errors import AuthenticationError, InputError
from frontserver.model.names import AgentId

ALGORITHM = "HS256"

_SECRET_BYTES = 32
_LONGEST_TOKEN = 4096
# How far the clocks of two control planes on one database may be apart.
_CLOCK_SKEW = timedelta(seconds=60)


# ValueError covers ours and bad text; RecursionError is deeply nested JSON in a forged header.
_UNREADABLE = (
    msgspec.MsgspecError,
    InputError,
    ValueError,
    OverflowError,
    RecursionError,
)


class SigningKey(msgspec.Struct, frozen=True):
    """A secret of at least 32 bytes (RFC 7518 section 3.2) and the `kid` that tokens name it by."""

    kid: str
    secret: bytes
    created_at: datetime

    def __post_init__(self) -> None:
        if len(self.secret) < _SECRET_BYTES:
            raise ValueError(f"a signing key has at least {_SECRET_BYTES} bytes")

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r})"

    @classmethod
    def generate(cls, now: datetime) -> Self:
        """A new random key."""
        return cls(secrets.token_hex(8), secrets.token_bytes(_SECRET_BYTES), now)


def rotate(keys: Sequence[SigningKey], now: datetime, *, ttl: timedelta) -> tuple[SigningKey, ...]:
    """A new key before `keys` (newest first), without those whose last tokens have expired.

    Tokens live for `ttl`, and a key signs until the next one is made.
    """
    kept = [SigningKey.generate(now)]
    for key in keys:
        # `kept[-1]` is the key that took over from this one.
        if kept[-1].created_at + ttl <= now:
            break
        kept.append(key)
    return tuple(kept)


class IssuedToken(msgspec.Struct, frozen=True):
    """A token as the agent gets it; `jti` is what an audit row may hold."""

    token: str
    expires_at: datetime
    jti: str

    def __repr__(self) -> str:
        return f"IssuedToken(jti={self.jti!r})"


class Claims(msgspec.Struct, frozen=True):
    """What a valid token says. `era` tells which revocation was its agent's last one.

    Not their times: a clock may be set back. `era` is `None` in tokens of versions that compared
    times; `issued_at` has microseconds for that.
    """

    agent_id: AgentId
    jti: str
    issued_at: datetime
    expires_at: datetime
    era: float | None


class _Payload(msgspec.Struct, frozen=True):
    sub: str
    jti: str
    iss: str
    aud: str
    iat: float
    exp: int
    era: float | None = None


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whatever else a header says (`crit`, `b64`, `jku`), we have not written it."""

    alg: Literal["HS256"]
    kid: str
    typ: str = "JWT"


# Header, payload and signature in base64url without padding (RFC 7515 section 7.1).
_COMPACT = re.compile(r"(([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+))\.([A-Za-z0-9_-]+)")


class TokenIssuer:
    """Issues and reads tokens. `keys` are newest first: the first signs, all of them verify.

    `clock` gives the time in UTC (aware).
    """

    def __init__(
        self,
        keys: Sequence[SigningKey],
        *,
        issuer: str,
        audience: str,
        ttl: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        if not keys:
            raise ValueError("a token issuer needs a signing key")
        self._newest = keys[0]
        # Copied for each token: `hmac.digest` would let other threads run first each time.
        self._keyed = {key.kid: hmac.new(key.secret, digestmod="sha256") for key in keys}
        self._issuer = issuer
        self._audience = audience
        self._ttl = ttl
        self._clock = clock
        self._jws = jwt.PyJWS(algorithms=[ALGORITHM])

    def issue(self, agent_id: AgentId, era: float) -> IssuedToken:
        """A token for this agent, valid from now for the issuer's ttl, to the full second.

        `era` is the agent's, whose next revocation gives it another.
        """
        now = self._clock()
        expires_at = (now + self._ttl).replace(microsecond=0)
        jti = secrets.token_urlsafe(16)
        payload = _Payload(
            sub=str(agent_id),  # msgspec encodes no subclasses of str.
            jti=jti,
            iss=self._issuer,
            aud=self._audience,
            iat=now.timestamp(),
            exp=int(expires_at.timestamp()),
            era=era,
        )
        token = self._jws.encode(
            msgspec.json.encode(payload),
            self._newest.secret,
            algorithm=ALGORITHM,
            headers={"kid": self._newest.kid},
        )
        return IssuedToken(token, expires_at, jti)

    def read(self, token: str) -> Claims:
        """The claims of a valid token. Every other token raises the same `AuthenticationError`."""
        try:
            return self._claims(self._verified(token))
        except _UNREADABLE as bad:
            raise AuthenticationError(
                "the token is invalid or expired", hint="authenticate again with the agent's key"
            ) from bad

    def _verified(self, token: str) -> _Payload:
        """The payload of a token that one of our keys signed (RFC 7515 section 5.2)."""
        parts = _COMPACT.fullmatch(token) if len(token) <= _LONGEST_TOKEN else None
        if parts is None:
            raise ValueError("this isn't a signed token")
        signed, header, payload, signature = parts.groups()
        keyed = self._keyed.get(msgspec.json.decode(_decoded(header), type=_Header).kid)
        if keyed is None:
            raise ValueError("no key of ours has this kid")
        mac = keyed.copy()
        mac.update(signed.encode("ascii"))
        # Compared as text, so that nothing but the one spelling of a signature counts.
        if not hmac.compare_digest(_encoded(mac.digest()), signature):
            raise ValueError("the signature isn't ours")
        return msgspec.json.decode(_decoded(payload), type=_Payload)

    def _claims(self, payload: _Payload) -> Claims:
        now = self._clock()
        claims = Claims(
            agent_id=AgentId(payload.sub),
            jti=payload.jti,
            issued_at=datetime.fromtimestamp(payload.iat, UTC),
            expires_at=datetime.fromtimestamp(payload.exp, UTC),
            era=payload.era,
        )
        if payload.iss != self._issuer or payload.aud != self._audience:
            raise ValueError("the token is of or for somebody else")
        if claims.expires_at <= now:
            raise ValueError("the token has expired")
        if claims.issued_at > now + _CLOCK_SKEW:
            raise ValueError("the token is from the future")
        return claims


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
