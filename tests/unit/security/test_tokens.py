"""Agent tokens: what is issued reads back, and nothing else is accepted."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontserver.errors import AuthenticationError
from frontserver.model.names import AgentId
from frontserver.security.tokens import SigningKey, TokenIssuer, rotate
from tests.unit.security.samples import Calendar

TTL = timedelta(hours=1)
KEY = SigningKey("k1", b"s" * 32, datetime(2030, 1, 1, tzinfo=UTC))
A1 = AgentId("a1")
ERA = 1893456000.25


@pytest.fixture
def clock() -> Calendar:
    return Calendar()


def issuer(
    clock: Calendar, *keys: SigningKey, name: str = "frontserver", audience: str = "agents"
) -> TokenIssuer:
    return TokenIssuer(keys or (KEY,), issuer=name, audience=audience, ttl=TTL, clock=clock)


def forged(
    clock: Calendar,
    *,
    secret: bytes = KEY.secret,
    algorithm: str = "HS256",
    header: dict[str, Any] | None = None,
    **claims: Any,
) -> str:
    """A token like ours, with changes; a claim of `None` is left out."""
    payload: dict[str, Any] = {
        "sub": "a1",
        "jti": "j",
        "iss": "frontserver",
        "aud": "agents",
        "iat": clock().timestamp(),
        "exp": int((clock() + TTL).timestamp()),
    } | claims
    payload = {name: value for name, value in payload.items() if value is not None}
    # Signed by hand, since PyJWT would refuse to make some of these.
    head = {"alg": algorithm, **({"kid": "k1"} if header is None else header)}
    text = ".".join(encoded(json.dumps(part).encode()) for part in (head, payload))
    digest = {"HS256": "sha256", "HS512": "sha512"}.get(algorithm)
    signature = hmac.digest(secret, text.encode(), digest) if digest else b""
    return f"{text}.{encoded(signature)}"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def refusal(tokens: TokenIssuer, token: str) -> AuthenticationError:
    with pytest.raises(AuthenticationError) as refused:
        tokens.read(token)
    assert refused.value.message == "the token is invalid or expired"
    assert refused.value.__cause__ is not None
    return refused.value


def test_what_is_issued_reads_back(clock: Calendar) -> None:
    tokens = issuer(clock)
    issued = tokens.issue(A1, ERA)
    claims = tokens.read(issued.token)
    assert claims.agent_id == A1
    assert claims.jti == issued.jti
    assert claims.issued_at == clock()
    assert claims.expires_at == issued.expires_at
    assert claims.era == ERA


def test_a_token_lives_for_the_ttl_to_the_full_second(clock: Calendar) -> None:
    issued = issuer(clock).issue(A1, ERA)
    assert issued.expires_at == datetime(2030, 1, 2, 4, 4, 5, tzinfo=UTC)


@given(st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001 - bounds are naive by contract
def test_the_time_of_issue_keeps_its_microseconds(moment: datetime) -> None:
    clock = Calendar()
    clock.now = moment.replace(tzinfo=UTC)
    tokens = issuer(clock)
    assert tokens.read(tokens.issue(A1, ERA).token).issued_at == clock.now


def test_every_token_has_an_id_of_its_own(clock: Calendar) -> None:
    tokens = issuer(clock)
    assert tokens.issue(A1, ERA).jti != tokens.issue(A1, ERA).jti


def test_the_header_says_hs256_and_which_key(clock: Calendar) -> None:
    header = jwt.get_unverified_header(issuer(clock).issue(A1, ERA).token)
    assert header == {"alg": "HS256", "kid": "k1", "typ": "JWT"}


def test_any_jwt_library_reads_our_tokens() -> None:
    clock = Calendar()
    clock.now = datetime.now(UTC)
    claims = jwt.decode(
        issuer(clock).issue(A1, ERA).token,
        KEY.secret,
        algorithms=["HS256"],
        audience="agents",
        issuer="frontserver",
        options={"require": ["exp", "iat", "iss", "aud", "sub", "jti"]},
    )
    assert claims["sub"] == "a1"


def test_a_token_is_refused_from_the_second_it_expires(clock: Calendar) -> None:
    tokens = issuer(clock)
    issued = tokens.issue(A1, ERA)
    clock.now = issued.expires_at - timedelta(microseconds=1)
    assert tokens.read(issued.token)
    clock.now = issued.expires_at
    refusal(tokens, issued.token)


def test_the_forgery_helper_makes_good_tokens_unless_told_otherwise(clock: Calendar) -> None:
    assert issuer(clock).read(forged(clock)).agent_id == "a1"


@pytest.mark.parametrize(
    "changes",
    [
        {"secret": b"x" * 32},
        {"algorithm": "HS512"},
        {"algorithm": "none"},
        {"algorithm": "None"},
        {"header": {"kid": "k2"}},
        {"header": {"typ": "JWT"}},
        {"header": {"kid": "k1", "crit": ["x"], "x": 1}},
        {"sub": None},
        {"jti": None},
        {"iss": None},
        {"aud": None},
        {"iat": None},
        {"exp": None},
        {"iss": "somebody"},
        {"aud": "operators"},
        {"aud": ["agents", "operators"]},
        {"sub": "not an agent id"},
        {"sub": 7},
        {"jti": 7},
        {"exp": "tomorrow"},
        {"exp": 10**30},
        {"exp": 0},
        {"iat": 1e300},
        {"iat": "now"},
    ],
    ids=str,
)
def test_what_we_did_not_issue_is_refused(changes: dict[str, Any], clock: Calendar) -> None:
    refusal(issuer(clock), forged(clock, **changes))


def test_a_kid_that_is_no_string_is_refused(clock: Calendar) -> None:
    refusal(issuer(clock), forged(clock, header={"kid": ["k1"]}))


def test_a_token_from_the_future_is_refused_beyond_clock_skew(clock: Calendar) -> None:
    soon = clock().timestamp() + 30
    assert issuer(clock).read(forged(clock, iat=soon))
    refusal(issuer(clock), forged(clock, iat=soon + 60))


def test_an_issuer_reads_its_own_tokens_only(clock: Calendar) -> None:
    token = issuer(clock).issue(A1, ERA).token
    refusal(issuer(clock, name="other"), token)
    refusal(issuer(clock, audience="other"), token)


def test_any_changed_character_is_noticed(clock: Calendar) -> None:
    tokens = issuer(clock)
    token = tokens.issue(A1, ERA).token
    for position in range(len(token) - 1):  # The last one holds two unused bits.
        changed = "A" if token[position] != "A" else "B"
        refusal(tokens, token[:position] + changed + token[position + 1 :])


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b.c", "é.é.é", "\ud800", "x" * 5000, "\0"],
    ids=["empty", "dot", "dots", "letters", "accents", "surrogate", "long", "nul"],
)
def test_rubbish_is_refused(token: str, clock: Calendar) -> None:
    refusal(issuer(clock), token)


def test_a_deeply_nested_header_is_refused(clock: Calendar) -> None:
    refusal(issuer(clock), f"{encoded(b'[' * 2000)}.e30.AA")


@given(st.text())
def test_no_text_makes_reading_fail_otherwise(token: str) -> None:
    with pytest.raises(AuthenticationError):
        issuer(Calendar()).read(token)


def test_all_keys_verify_and_the_newest_signs(clock: Calendar) -> None:
    old = issuer(clock).issue(A1, ERA).token
    keys = rotate([KEY], clock(), ttl=TTL)
    tokens = issuer(clock, *keys)
    assert tokens.read(old).agent_id == A1
    fresh = tokens.issue(A1, ERA).token
    assert jwt.get_unverified_header(fresh)["kid"] == keys[0].kid
    refusal(issuer(clock), fresh)


def test_a_key_is_dropped_once_its_last_token_has_expired(clock: Calendar) -> None:
    one = rotate([KEY], clock(), ttl=TTL)
    assert [key.kid for key in one[1:]] == ["k1"]
    clock.pass_(TTL.total_seconds() - 1)
    two = rotate(one, clock(), ttl=TTL)
    assert [key.kid for key in two[1:]] == [one[0].kid, "k1"]
    clock.pass_(2)
    three = rotate(two, clock(), ttl=TTL)
    assert [key.kid for key in three[1:]] == [two[0].kid, one[0].kid]


def test_rotation_starts_from_nothing(clock: Calendar) -> None:
    (key,) = rotate([], clock(), ttl=TTL)
    assert key.created_at == clock()
    assert len(key.secret) == 32


def test_weak_or_missing_keys_are_refused(clock: Calendar) -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        SigningKey("k", b"short", clock())
    with pytest.raises(ValueError, match="needs a signing key"):
        TokenIssuer([], issuer="x", audience="y", ttl=TTL, clock=clock)


def test_secrets_are_not_shown(clock: Calendar) -> None:
    issued = issuer(clock).issue(A1, ERA)
    assert repr(KEY) == "SigningKey(kid='k1')"
    assert repr(issued) == f"IssuedToken(jti={issued.jti!r})"
