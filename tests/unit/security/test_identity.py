"""Operators, invitations and principals."""

from __future__ import annotations

import pytest

from frontserver.errors import PermissionDeniedError
from frontserver.model.names import AgentId
from frontserver.security import principals
from frontserver.security.invitations import mint_key
from frontserver.security.keys import check_key
from frontserver.security.operators import OperatorCredential

TOKEN = "operator-token-of-the-test"


def test_exactly_the_operators_token_is_accepted() -> None:
    credential = OperatorCredential(TOKEN)
    assert credential.configured
    assert credential.accepts(TOKEN)
    for other in ("", TOKEN[:-1], TOKEN + " ", TOKEN.upper(), "é", "\ud800"):
        assert not credential.accepts(other)


def test_without_a_token_nobody_is_an_operator() -> None:
    credential = OperatorCredential(None)
    assert not credential.configured
    for presented in ("", "None", TOKEN):
        assert not credential.accepts(presented)


def test_an_empty_token_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        OperatorCredential("")


def test_the_token_is_not_kept() -> None:
    assert TOKEN not in repr(vars(OperatorCredential(TOKEN)))


def test_minted_keys_are_valid_long_and_different() -> None:
    minted = {mint_key() for _ in range(10)}
    assert len(minted) == 10
    for key in minted:
        check_key(key)
        assert len(key) == 43  # 32 bytes in Base64.
        assert key.replace("-", "").replace("_", "").isalnum()


def test_an_agent_reaches_its_own_resources_only() -> None:
    principal = principals.agent(AgentId("A1"))
    assert principal.name == "agent:a1"
    principal.require_agent(AgentId("a1"))
    with pytest.raises(PermissionDeniedError, match="another agent"):
        principal.require_agent(AgentId("a2"))
    with pytest.raises(PermissionDeniedError, match="only an operator"):
        principal.require_operator()


@pytest.mark.parametrize("principal", [principals.OPERATOR, principals.SYSTEM])
def test_an_operator_reaches_every_agents_resources(principal: principals.Principal) -> None:
    principal.require_agent(AgentId("a1"))
    principal.require_operator()


def test_nobody_in_particular_reaches_nothing() -> None:
    nobody = principals.Principal(name="nobody")
    with pytest.raises(PermissionDeniedError):
        nobody.require_agent(AgentId("a1"))
