"""The harness: the product on real HAProxy and real MongoDB, natively or in containers.

    from harness import Stack

    with Stack(haproxy="3.4", backend="file") as stack:
        stack.agent("a1").http("shop", "http://127.0.0.1:8000")
        assert stack.get("shop").status_code == 200

Belongs here: starting and stopping the front server, HAProxy, databases, agents and demo origins;
names that resolve; traffic that watches itself; evidence for whoever reads a failure.
Doesn't: assertions about the product (`tests/e2e`), nor an import of `frontserver`: the product
is driven by its commands and its API, as anybody else would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, UnavailableError

if TYPE_CHECKING:
    from harness.stack import Stack

__all__ = ["HarnessError", "Stack", "UnavailableError"]


def __getattr__(name: str) -> Any:
    # Later: programs of the harness's own, such as the double, need no stack.
    if name == "Stack":
        from harness.stack import Stack  # noqa: PLC0415

        return Stack
    raise AttributeError(f"harness has no {name}")
