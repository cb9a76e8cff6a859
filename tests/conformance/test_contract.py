"""The double tells of what breaks the contract, though it takes it as the real program does."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from harness.errors import ContractError
from tests.conformance.site import RUNTIME, opened


def test_a_misspelt_field_is_taken_and_told_of(haproxy: Path) -> None:
    servers = f"{RUNTIME}/backends/cp_slot_1/servers"
    server = {"name": "s1", "address": "127.0.0.1", "port": 80, "weihgt": 10}
    with contextlib.ExitStack() as stack:
        site = stack.enter_context(opened(haproxy, None, watched=True))
        with site.dataplane.client() as client:
            assert client.post(servers, json=server).status_code == 201
        assert list(site.servers("cp_slot_1")) == ["s1"]

        with pytest.raises(ContractError, match=f"POST /v3{servers}: .* field `weihgt`"):
            stack.close()


def test_the_double_tells_of_nothing_else(haproxy: Path) -> None:
    with opened(haproxy, None, watched=True) as site:
        assert site.route("shop.example.com").status_code == 201
        site.dataplane.restart()
        assert site.later(site.base).status_code == 202
