"""Ports that are given out: free ones, and others than another process is given."""

from __future__ import annotations

import random
import socket

import pytest

from harness import ports


def test_a_port_is_free_and_given_once() -> None:
    given = [ports.free_port() for _ in range(20)]
    assert len(set(given)) == len(given)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", given[0]))


def test_a_seed_does_not_say_which(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that hypothesis has seeded alike start stacks beside each other."""
    found = []
    for _ in range(2):
        monkeypatch.setattr(ports, "_given", set())
        random.seed(0)
        found.append([ports.free_port() for _ in range(4)])
    assert found[0] != found[1]
